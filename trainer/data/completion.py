"""Completes lone votes: fits the preference model, draws the missing answers, and scores them."""

from __future__ import annotations

from collections.abc import Sequence

from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.models.hardware import cpu_threads
from storage.settings.sections import Settings
from storage.training.samples import DrawnSample, record_samples
from trainer.data.lone_votes import SampleRequest
from trainer.data.plan import NO_OPINION, VoterPreferences, lone_votes
from trainer.data.preference_model import PreferenceModel, fit_preference_model, load_encoder
from trainer.data.survey import Survey
from trainer.errors import TrainerError
from trainer.evaluation.sampling import open_adapter, open_speaker
from trainer.progress import Phase, Report, RoundProgress, begin_phase

SAMPLING = {"temperature", "top_p", "presence_penalty", "max_new_tokens"}


def fit_preferences(
    survey: Survey, settings: Settings, report: Report
) -> tuple[PreferenceModel | None, VoterPreferences]:
    """Return the preference model if lone votes need it and it is good enough, and what to say about it."""
    if not lone_votes(survey, settings):
        return None, NO_OPINION
    report(RoundProgress(Phase.WEIGHING))
    try:
        with cpu_threads(settings.training.threads):
            model = fit_preference_model(survey.replies, load_encoder(), settings.training.seed)
    except TrainerError as error:
        return None, VoterPreferences({}, None, f"lone votes are not used: {error}")
    if model is None:
        return None, VoterPreferences(
            {}, None, "lone votes are not used: at least 5 liked and 5 disliked answers are needed"
        )
    if model.auc < settings.pairs.min_preference_auc:
        note = (
            f"lone votes are not used: the model that predicts votes has an AUC of {model.auc:.2f}, "
            f"below pairs.min_preference_auc = {settings.pairs.min_preference_auc}"
        )
        return None, VoterPreferences({}, model.auc, note)
    return model, VoterPreferences({}, model.auc)


def draw_samples(
    database: Database,
    requests: Sequence[SampleRequest],
    survey: Survey,
    settings: Settings,
    *,
    base: BaseModel,
    store: AdapterStore,
    report: Report,
) -> None:
    """Draw and store the requested answers of the survey's parent."""
    wanted = [request for request in requests for _ in range(request.count)]
    advance = begin_phase(report, Phase.SAMPLING, len(wanted))
    seed, generation = settings.training.seed, settings.generation
    with cpu_threads(settings.training.threads):
        speaker = open_speaker(settings, base, open_adapter(store, survey.parent, base))
        samples = speaker.answer([request.prompt for request in wanted], generation, seed, advance)
    drawn = [
        DrawnSample(request.reply_id, sample.text, is_cut=sample.is_cut)
        for request, sample in zip(wanted, samples, strict=True)
    ]
    sampling = generation.model_dump(mode="json", include=SAMPLING)
    with database.transaction() as session:
        record_samples(session, drawn, version_id=survey.parent_id, sampling=sampling, seed=seed)


def ask_preferences(judge: PreferenceModel, survey: Survey, settings: Settings) -> VoterPreferences:
    """Score the lone replies and the samples drawn for their prompts."""
    lone = lone_votes(survey, settings)
    prompts = {reply.prompt for reply in lone}
    asked = [*lone, *(reply for reply in survey.replies if reply.is_sample and reply.prompt in prompts)]
    with cpu_threads(settings.training.threads):
        scores = judge.score([reply.prompt for reply in asked], [reply.answer for reply in asked])
    return VoterPreferences({reply.id: score for reply, score in zip(asked, scores, strict=True)}, judge.auc)
