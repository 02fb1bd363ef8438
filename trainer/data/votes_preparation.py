"""From the database to a round's plan: survey, ask the preference model, draw what is missing, write the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterRef, AdapterStore
from storage.database.database import Database
from storage.models.adapter_checks import require_base
from storage.models.base_model import BaseModel
from storage.models.hardware import training_format
from storage.personalities.personalities import lock_personality
from storage.privacy.consent import Agreement, read_agreement
from storage.releases.versions import Version, continuation_of
from storage.settings.sections import Settings
from storage.training.evidence import read_corrections, read_empty_samples, read_replies
from storage.training.rounds import Round, digest_manifest, last_trained, names_deleted, read_line, set_manifest
from storage.training.samples import DrawnSample, record_samples
from storage.votes.quarantines import hold_back_bursts
from storage.votes.weights import ACCOUNT_AGE, MEMBERSHIP, QUARANTINE, WRONG_FACT, read_weighted_votes
from storage.wording import count
from trainer.data.history import read_history
from trainer.data.lone_votes import SampleRequest
from trainer.data.plan import Survey, TrainingPlan, VoterPreferences, left_out, lone_votes, make_plan, wanted_samples
from trainer.data.preference_model import PreferenceModel, fit_preference_model, load_encoder
from trainer.errors import TrainerError
from trainer.evaluation.openvino_sampling import open_speaker
from trainer.progress import Report, ReportProgress
from trainer.rounds.schedule import SCHEDULE
from trainer.training.common import cpu_threads

SAMPLING = {"temperature", "top_p", "presence_penalty", "max_new_tokens"}
RULES = (ACCOUNT_AGE, MEMBERSHIP, QUARANTINE, WRONG_FACT)
LEAST_TOLD = 0.005
MAX_PLANS = 10
"""Plans of one round: a member who takes something back again and again must not keep the trainer for ever."""
TAKEN_BACK = (
    f"what this round was to learn from was withdrawn, deleted or held back while it was planned, {MAX_PLANS} times: "
    "ask for a new one"
)
PROMOTED_MEANWHILE = (
    "lone votes are not used: another version was promoted while answers were drawn, so ask for a new round"
)
LIVE_CHAT_COUNTS = "live chat counts where everybody quoted has opted in"
LIVE_CHAT_DOES_NOT_COUNT = "live chat does not count (privacy.discord_training_permission = false)"
REMEDY = "suggest better answers, or ask for another answer and vote, so that one is preferred to the other"
UNSCHEDULED = {"schedule", "min_pairs", "niceness", "threads", "processes", "keep_versions"}
"""Settings of training that do not change what a round gives."""

Skip = str
"""Why a round has nothing to do."""


def prepare_round(
    database: Database, settings: Settings, round_: Round, *, base: BaseModel, store: AdapterStore, report: Report
) -> TrainingPlan | Skip:
    """Choose what the round trains on and write its manifest, or say why there is nothing to do.

    Database and model are used by turns: no transaction waits for a model, and no writer for a plan. What is taken back
    while the plan is made makes it be made again.
    """
    hold_back_bursts(database, round_.personality_id, settings.votes)
    with database.snapshot() as session:
        first = survey_votes(session, settings, base, round_.personality_id)
    judge, opinion = _fit(first, settings, report)
    requests = wanted_samples(first, settings, lone_too=judge is not None)
    if requests:
        drawn = _draw(requests, base, open_adapter(store, first.parent, base), settings, report)
        with database.transaction() as session:
            _record(session, drawn, first, settings)
    for _ in range(MAX_PLANS):
        with database.snapshot() as session:
            agreed = read_agreement(session, round_.personality_id)
            survey = survey_votes(session, settings, base, round_.personality_id)
            last = last_trained(session, round_.personality_id)
        if judge is not None:
            opinion = _ask(judge, survey, settings)
        plan = _plan(survey, opinion, settings, first.parent_id)
        if not isinstance(plan, TrainingPlan):
            return plan
        if round_.requested_by == SCHEDULE and last is not None and _is_repeated(last, plan, settings):
            return f"no new votes or corrections since round {last.id}, which trained on the same pairs"
        with database.transaction() as session:
            if write_plan(session, round_, plan, settings, agreed):
                return plan
    return TAKEN_BACK


def write_plan(session: Session, round_: Round, plan: TrainingPlan, settings: Settings, agreed: Agreement) -> bool:
    """Write the round's manifest, unless something was taken back since `agreed` was read; return whether it did."""
    # A deletion ends before the comparison, or begins after the manifest is written and finds the pairs there.
    lock_personality(session, round_.personality_id)
    stands = agreed.stands(read_agreement(session, round_.personality_id))
    if not stands or names_deleted(session, plan.manifest):
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
    if plan.new_lessons < settings.training.min_pairs:
        return _too_few(plan, left_out(survey, opinion), settings)
    return plan


def survey_votes(session: Session, settings: Settings, base: BaseModel, personality_id: int) -> Survey:
    ballots = read_weighted_votes(session, personality_id, settings.votes)
    where = (personality_id, settings.privacy, base.revision)
    replies = read_replies(session, *where, ballots.by_reply)
    corrections = read_corrections(session, *where, settings.votes)
    continuation = continuation_of(session, personality_id)
    parent = continuation.parent
    line = read_line(session, parent.id if parent else None)
    return Survey(
        replies=tuple(replies),
        corrections=tuple(corrections),
        ballots=ballots,
        continuation=continuation,
        ledger=read_history(line, {reply.id: reply for reply in replies}),
        empty_samples=read_empty_samples(session, *where, parent.id if parent else None),
    )


def open_adapter(store: AdapterStore, version: Version | None, base: BaseModel) -> AdapterRef | None:
    """Return the version's verified files, or None for the base model; raises AdapterError."""
    if version is None:
        return None
    folder = store.path(version.digest)
    require_base(folder, base)
    return AdapterRef(version.digest, folder)


def _fit(survey: Survey, settings: Settings, report: Report) -> tuple[PreferenceModel | None, VoterPreferences]:
    """Return the preference model where lone votes need it and it may be trusted, and what there is to say of it."""
    if not lone_votes(survey, settings):
        return None, VoterPreferences({}, None)
    report(ReportProgress("weighing votes"))
    try:
        with cpu_threads(settings.training.threads):
            model = fit_preference_model(survey.replies, load_encoder(), settings.training.seed)
    except TrainerError as error:
        return None, VoterPreferences({}, None, f"lone votes are not used: {error}")
    if model is None:
        return None, VoterPreferences(
            {}, None, "lone votes are not used: both liked and disliked answers are needed, 5 of each"
        )
    if model.auc < settings.pairs.min_preference_auc:
        note = (
            f"lone votes are not used: a model of all votes predicts them with an AUC of {model.auc:.2f}, "
            f"pairs.min_preference_auc is {settings.pairs.min_preference_auc}"
        )
        return None, VoterPreferences({}, model.auc, note)
    return model, VoterPreferences({}, model.auc)


def _draw(
    requests: Sequence[SampleRequest], base: BaseModel, adapter: AdapterRef | None, settings: Settings, report: Report
) -> list[DrawnSample]:
    wanted = [request for request in requests for _ in range(request.count)]
    with cpu_threads(settings.training.threads):
        samples = open_speaker(settings, base, adapter).answer(
            [request.prompt for request in wanted],
            settings.generation,
            settings.training.seed,
            on_progress=lambda done: report(ReportProgress("sampling", done, len(wanted))),
        )
    return [
        DrawnSample(request.reply_id, sample.text, is_cut=sample.is_cut)
        for request, sample in zip(wanted, samples, strict=True)
    ]


def _record(session: Session, drawn: Sequence[DrawnSample], survey: Survey, settings: Settings) -> None:
    sampling = settings.generation.model_dump(mode="json", include=SAMPLING)
    record_samples(session, drawn, version_id=survey.parent_id, sampling=sampling, seed=settings.training.seed)


def _ask(judge: PreferenceModel, survey: Survey, settings: Settings) -> VoterPreferences:
    """Score the lone replies and the samples drawn beside them."""
    lone = lone_votes(survey, settings)
    prompts = {reply.prompt for reply in lone}
    asked = [*lone, *(reply for reply in survey.replies if reply.is_sample and reply.prompt in prompts)]
    with cpu_threads(settings.training.threads):
        scores = judge.score([reply.prompt for reply in asked], [reply.answer for reply in asked])
    return VoterPreferences({reply.id: score for reply, score in zip(asked, scores, strict=True)}, judge.auc)


def _too_few(plan: TrainingPlan, notes: Sequence[str], settings: Settings) -> Skip:
    needed = settings.training.min_pairs
    new = f" that {plan.parent.name} does not know" if plan.parent else ""
    beside = f" beside {len(plan.holdout)} held out" if plan.holdout else ""
    found = f"{count(plan.new_lessons, 'pair')} to learn from{new}{beside}, {needed} needed"
    permitted = settings.privacy.discord_training_permission
    live_chat = LIVE_CHAT_COUNTS if permitted else LIVE_CHAT_DOES_NOT_COUNT
    return "; ".join([f"{found}: {REMEDY}", live_chat, *_weightless(plan), *notes])


def _weightless(plan: TrainingPlan) -> Iterator[str]:
    removed = plan.evidence["removed_shares"]
    told = [f"{removed[rule]:.0%} by {rule}" for rule in RULES if removed.get(rule, 0.0) >= LEAST_TOLD]
    if told:
        yield f"votes so far: {plan.evidence['votes']}, which lost {' and '.join(told)}"


def _settings_of_round(settings: Settings) -> dict[str, Any]:
    """Return what decides a round's result beside its pairs and its parent."""
    return {
        "base": settings.model.base,
        "training": settings.training.model_dump(mode="json", exclude=UNSCHEDULED)
        | {"dtype": training_format(settings.training)},
        "gate": settings.gate.model_dump(mode="json"),
        "pairs": settings.pairs.model_dump(mode="json"),
        "votes": settings.votes.model_dump(mode="json"),
    }


def _is_repeated(last: Round, plan: TrainingPlan, settings: Settings) -> bool:
    """Return whether the last trained round had the same pairs and settings.

    Without this, a quiet server whose versions nobody promotes would train on the same votes every night.
    """
    return last.manifest_digest == digest_manifest(plan.manifest) and last.settings == _settings_of_round(settings)
