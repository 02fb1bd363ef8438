"""Prepares a round: surveys the feedback, draws answers for the taste to rank, makes the plan, writes the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import chain
from typing import Any

from sqlalchemy.orm import Session

from storage import sentences
from storage.database.database import Database
from storage.models.hardware import training_format
from storage.personalities.personalities import lock_personality
from storage.privacy.consent import Agreement, read_agreement
from storage.releases.contests import WAITING, Contest, judging_answers, read_contest
from storage.releases.versions import id_of
from storage.settings.sections import PrivacySettings, Settings
from storage.taste.opinions import count_feedback, read_taste_opinions
from storage.training.rounds import (
    SCHEDULE,
    Round,
    digest_manifest,
    find_round,
    last_trained,
    names_deleted,
    set_manifest,
)
from storage.votes.quarantines import quarantine_bursts
from storage.votes.votes import FeedbackCounts, chosen_among
from storage.votes.weights import RULES, read_weighted_votes
from storage.wording import LEAST_SHOWN_SHARE
from trainer.data.dataset import Skip, length_check
from trainer.data.drawing import ask_champion
from trainer.data.plan import VOTER_CAP, TrainingPlan, make_plan
from trainer.data.survey import Survey, survey_votes
from trainer.round_context import RoundContext

GROWN = 2
"""A scheduled round replaces a version that does not lead once there are this many times its votes and choices."""
MAX_PLANS = 10
"""Maximum plans that one round makes: a member who keeps taking something back must not occupy the trainer forever."""
TAKEN_BACK = sentences.Sentence(
    "votes or suggestions were taken back, deleted or put on hold {number} times while this round was planned: start a "
    "new round",
    number=MAX_PLANS,
)
LIVE_CHAT_IS_USED = sentences.Sentence("messages on Discord are used for training if everybody quoted allows it")
LIVE_CHAT_IS_NOT_USED = sentences.Sentence(
    "messages on Discord are not used for training (privacy.discord_training_permission = false)"
)
WITHOUT_EFFECT = {"schedule", "min_pairs", "niceness", "threads", "processes", "keep_versions"}
"""Settings of [training] that do not change a round's result."""


def prepare_votes(context: RoundContext, round_: Round) -> TrainingPlan | Skip:
    """Choose a round's pairs and write its manifest, or return the reason why there is nothing to do.

    Database and model take turns: no transaction waits for a model, and no writer waits for a plan, because planning
    only reads. If something is taken back meanwhile, the plan is made again.
    """
    database, settings, personality_id = context.database, context.settings, context.personality_id
    is_scheduled = round_.requested_by == SCHEDULE
    # 1) Set suspicious votes aside.
    quarantine_bursts(database, personality_id, settings.votes)
    if is_scheduled and (reason := candidate_waits(database, personality_id, settings)):
        return reason
    # 2) Draw answers for the taste to rank.
    prompts = ask_champion(context)
    fits = length_check(context.base.chat, settings.training.max_tokens)
    deciding = deciding_settings(settings)
    for _ in range(MAX_PLANS):
        # 3) Collect what people said, and plan the pairs.
        with database.snapshot() as session:
            agreed = read_agreement(session, personality_id)
            survey = survey_votes(session, context, prompts)
            last = last_trained(session, personality_id)
            plan = make_plan(survey, settings, fits)
        if plan.pairs < settings.training.min_pairs:
            return _too_few(plan, survey, settings.training.min_pairs, settings.privacy)
        if is_scheduled and last is not None and _is_repeated(last, plan, deciding):
            return sentences.Sentence(
                "no new votes or suggestions since round {round}, which trained on the same pairs", round=str(last.id)
            )
        # 4) Write the manifest, unless something was taken back meanwhile.
        with database.transaction() as session:
            if write_plan(session, round_, plan, deciding, agreed):
                return plan
    return TAKEN_BACK


def candidate_waits(database: Database, personality_id: int, settings: Settings) -> Skip | None:
    """Return why a scheduled round should not replace the version that people now compare with the champion.

    A version that leads keeps its choices. Twice the votes and choices make a better one than a version that does not;
    those that judge this version are not among them, because an evening of them would end the comparison.
    """
    with database.snapshot() as session:
        contest = read_contest(session, personality_id, settings.votes)
        version = contest.rival if contest else None
        made_by = find_round(session, version.round_id) if version and version.round_id else None
        said = _count_besides(session, contest, settings) if contest else 0
    if contest is None or version is None or made_by is None or contest.dead_end:
        return None
    if contest.is_old or version.trained_on_deleted_data:
        return None
    values = {"version": version.name, "days": WAITING.days}
    if contest.leads:
        return sentences.Sentence(
            "members are comparing {version} with the version in use, and it leads: the next scheduled round waits for "
            "their decision or {days} days",
            **values,
        )
    learned = FeedbackCounts(**made_by.learned_from.get("counts", {}))
    enough = GROWN * (learned.votes + learned.choices)
    if said >= enough:
        return None
    return sentences.counted(
        "members are comparing {version} with the version in use: the next scheduled round waits for {count} vote "
        "or choice, or {days} days",
        "members are comparing {version} with the version in use: the next scheduled round waits for {count} votes "
        "and choices, or {days} days",
        enough,
        **values,
    )


def _count_besides(session: Session, contest: Contest, settings: Settings) -> int:
    """Return the number of votes and choices that count, without those on answers that people compared."""
    personality_id = contest.rival.personality_id
    votes = read_weighted_votes(session, personality_id, settings.votes)
    opinions = read_taste_opinions(session, personality_id, settings)
    pairs, arenas = judging_answers(session, contest)
    voted = set(chain.from_iterable(pairs)) - chosen_among(session, personality_id)
    thumbs = sum(len(votes.by_reply.get(reply_id, ())) for reply_id in voted)
    judged = pairs | arenas
    judging = sum(choice.reply_ids in judged for choice in opinions.choices)
    said = count_feedback(votes, opinions)
    return said.votes - thumbs + said.choices - judging


def write_plan(
    session: Session, round_: Round, plan: TrainingPlan, deciding: dict[str, Any], agreed: Agreement
) -> bool:
    """Write the round's manifest and return True; return False if something was taken back since `agreed` was read.

    `deciding` are the `deciding_settings`.
    """
    # A deletion either ends before the comparison, or starts after the manifest is written and finds the pairs there.
    lock_personality(session, round_.personality_id)
    is_unchanged = agreed.still_holds(read_agreement(session, round_.personality_id))
    if not is_unchanged or names_deleted(session, plan.manifest):
        return False
    set_manifest(
        session,
        round_.id,
        plan.manifest,
        parent_version_id=id_of(plan.start.starter),
        settings=deciding,
        learned_from=plan.learned_from,
        voters=plan.voters,
    )
    return True


def _too_few(plan: TrainingPlan, survey: Survey, needed: int, privacy: PrivacySettings) -> Skip:
    found = sentences.counted(
        "{count} pair to learn from, {needed} needed: vote on answers, suggest better ones, or press 🔁 for another "
        "answer and vote on both",
        "{count} pairs to learn from, {needed} needed: vote on answers, suggest better ones, or press 🔁 for another "
        "answer and vote on both",
        plan.pairs,
        needed=needed,
    )
    live_chat: list[str] = []  # said if it explains why there are few pairs
    if privacy.discord_training_permission:
        live_chat = [LIVE_CHAT_IS_USED]
    elif survey.has_closed_replies:
        live_chat = [LIVE_CHAT_IS_NOT_USED]
    return sentences.joined("; ", [found, *live_chat, *_lost_weight(plan), *plan.learned_from["notes"]])


def _lost_weight(plan: TrainingPlan) -> Iterator[str]:
    """Yield a sentence on the share of the votes' weight that rules removed, if it is large."""
    removed = plan.learned_from["removed_shares"].items()
    parts = [
        sentences.Sentence(
            "{share} ({rule})", share=sentences.Figure(share, ".0%"), rule=sentences.Sentence(RULES.get(rule, rule))
        )
        for rule, share in removed
        if rule != VOTER_CAP and share >= LEAST_SHOWN_SHARE
    ]
    if parts:
        yield sentences.counted(
            "{count} vote so far, of which the rules removed {shares}",
            "{count} votes so far, of which the rules removed {shares}",
            plan.learned_from["votes"],
            shares=reduce(
                lambda first, then: sentences.Sentence("{first} and {second}", first=first, second=then), parts
            ),
        )


def deciding_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that, with its pairs and its starter, decide a round's result."""
    return {
        "base": settings.model.base,
        "training": settings.training.model_dump(mode="json", exclude=WITHOUT_EFFECT)
        | {"dtype": training_format(settings.training)},
        "gate": settings.gate.model_dump(mode="json"),
        "pairs": settings.pairs.model_dump(mode="json"),
        "votes": settings.votes.model_dump(mode="json"),
    }


def _is_repeated(last: Round, plan: TrainingPlan, deciding: dict[str, Any]) -> bool:
    """Return whether the last trained round had the same pairs and settings.

    Without this check, a quiet server whose versions nobody promotes would train on the same votes every night.
    """
    return last.manifest_digest == digest_manifest(plan.manifest) and last.settings == deciding
