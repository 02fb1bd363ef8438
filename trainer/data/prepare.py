"""Prepares a round: survey of votes and suggestions, preference model, missing samples, plan, manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.orm import Session

from storage import wording
from storage.adapters.folder_store import AdapterStore
from storage.conversations.replies import newest_base
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.models.hardware import training_format
from storage.personalities.personalities import lock_personality
from storage.privacy.consent import Agreement, read_agreement
from storage.settings.sections import Settings
from storage.training.rounds import SCHEDULE, Round, digest_manifest, last_trained, names_deleted, set_manifest
from storage.votes.quarantines import quarantine_bursts
from trainer.data.dataset import Skip
from trainer.data.plan import VOTER_CAP, TrainingPlan, VoterPreferences, left_out, make_plan, wanted_samples
from trainer.data.preference_model import ask_preferences, draw_samples, fit_preferences
from trainer.data.survey import Survey, survey_votes
from trainer.progress import ReportProgress

MAX_PLANS = 10
"""Plans of one round: a member who takes something back again and again must not occupy the trainer forever."""
TAKEN_BACK = (
    f"votes or suggestions were withdrawn, deleted or quarantined {MAX_PLANS} times while this round was planned: "
    "start a new round"
)
PROMOTED_MEANWHILE = (
    "lone votes are not used: another version was promoted while answers were drawn, so start a new round"
)
LIVE_CHAT_IS_USED = "live chat is trained on if everybody quoted has opted in"
LIVE_CHAT_IS_NOT_USED = "live chat is not trained on (privacy.discord_training_permission = false)"
REMEDY = "suggest better answers, or press 🔁 for another answer and vote on both"
WITHOUT_EFFECT = {"schedule", "min_pairs", "niceness", "threads", "processes", "keep_versions"}
"""Settings of [training] that do not change a round's result."""


def prepare_votes(
    database: Database,
    settings: Settings,
    round_: Round,
    *,
    base: BaseModel,
    store: AdapterStore,
    report: ReportProgress,
) -> TrainingPlan | Skip:
    """Choose what the round trains on and write its manifest, or return why there is nothing to do.

    Database and model take turns: no transaction waits for a model, and no writer waits for a plan. If something is
    taken back while the plan is made, the plan is made again.
    """
    quarantine_bursts(database, round_.personality_id, settings.votes)
    with database.snapshot() as session:
        first = survey_votes(session, settings, base, round_.personality_id)
    judge, opinion = fit_preferences(first, settings, report)
    requests = wanted_samples(first, settings, lone_too=judge is not None)
    if requests:
        draw_samples(database, requests, first, settings, base=base, store=store, report=report)
    for _ in range(MAX_PLANS):
        with database.snapshot() as session:
            agreed = read_agreement(session, round_.personality_id)
            survey = survey_votes(session, settings, base, round_.personality_id)
            last = last_trained(session, round_.personality_id)
        if judge is not None:
            opinion = ask_preferences(judge, survey, settings)
        plan = _plan(survey, opinion, settings, first.parent_id)
        if not isinstance(plan, TrainingPlan):
            return plan + _other_base(database, round_.personality_id, base)
        if round_.requested_by == SCHEDULE and last is not None and _is_repeated(last, plan, settings):
            return f"no new votes or suggestions since round {last.id}, which trained on the same pairs"
        with database.transaction() as session:
            if write_plan(session, round_, plan, settings, agreed):
                return plan
    return TAKEN_BACK


def write_plan(session: Session, round_: Round, plan: TrainingPlan, settings: Settings, agreed: Agreement) -> bool:
    """Write the round's manifest and return True, unless something was taken back since `agreed` was read."""
    # A deletion either ends before the comparison, or starts after the manifest is written and finds the pairs there.
    lock_personality(session, round_.personality_id)
    is_unchanged = agreed.still_holds(read_agreement(session, round_.personality_id))
    if not is_unchanged or names_deleted(session, plan.manifest):
        return False
    set_manifest(
        session,
        round_.id,
        plan.manifest,
        parent_version_id=plan.parent.id if plan.parent else None,
        settings=_settings_of_round(settings),
        evidence=plan.evidence,
        voters=plan.voters,
    )
    return True


def _plan(survey: Survey, opinion: VoterPreferences, settings: Settings, parent_id: int | None) -> TrainingPlan | Skip:
    if opinion.scores and survey.parent_id != parent_id:
        opinion = VoterPreferences({}, opinion.auc, PROMOTED_MEANWHILE)
    plan = make_plan(survey, opinion, settings)
    if plan.new_pairs < settings.training.min_pairs:
        return _too_few(
            plan, [*_live_chat(survey, settings), *_lost_weight(plan), *left_out(survey, opinion)], settings
        )
    return plan


def _too_few(plan: TrainingPlan, notes: Sequence[str], settings: Settings) -> Skip:
    new = f" that {plan.parent.name} has not learned" if plan.parent else ""
    more = f" ({len(plan.holdout)} more held out)" if plan.holdout else ""
    found = f"{wording.count(plan.new_pairs, 'pair')} to learn from{new}{more}, {settings.training.min_pairs} needed"
    return "; ".join([f"{found}: {REMEDY}", *notes])


def _live_chat(survey: Survey, settings: Settings) -> Iterator[str]:
    """Yield whether live chat is used, if it explains why there are few pairs."""
    if settings.privacy.discord_training_permission:
        yield LIVE_CHAT_IS_USED
    elif survey.has_closed_replies:
        yield LIVE_CHAT_IS_NOT_USED


def _other_base(database: Database, personality_id: int, base: BaseModel) -> str:
    """Return a remark if members talk to another base than this trainer's, else an empty text."""
    with database.snapshot() as session:
        served = newest_base(session, personality_id)
    if served in (None, base.revision):
        return ""
    return (
        f"; the newest answers come from a base of revision {served}, but this trainer has {base.name} "
        f"({base.revision}): set model.base on its host to the bot's base"
    )


def _lost_weight(plan: TrainingPlan) -> Iterator[str]:
    """Yield how much of the votes' weight the rules removed, if it is worth saying."""
    removed = plan.evidence["removed_shares"].items()
    parts = [
        f"{share:.0%} ({rule})" for rule, share in removed if rule != VOTER_CAP and share >= wording.LEAST_SHOWN_SHARE
    ]
    if parts:
        votes = wording.count(plan.evidence["votes"], "vote")
        yield f"{votes} so far, of which the rules removed {' and '.join(parts)}"


def _settings_of_round(settings: Settings) -> dict[str, Any]:
    """Return the settings that decide a round's result, together with its pairs and its parent."""
    return {
        "base": settings.model.base,
        "training": settings.training.model_dump(mode="json", exclude=WITHOUT_EFFECT)
        | {"dtype": training_format(settings.training)},
        "gate": settings.gate.model_dump(mode="json"),
        "pairs": settings.pairs.model_dump(mode="json"),
        "votes": settings.votes.model_dump(mode="json"),
    }


def _is_repeated(last: Round, plan: TrainingPlan, settings: Settings) -> bool:
    """Return whether the last trained round had the same pairs and settings.

    Without this check, a quiet server whose versions nobody promotes would train on the same votes every night.
    """
    return last.manifest_digest == digest_manifest(plan.manifest) and last.settings == _settings_of_round(settings)
