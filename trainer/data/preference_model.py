"""Completes lone votes into pairs: a model of members' preferences, and samples that it compares them with."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.errors import EncoderError
from storage.models.base_model import BaseModel
from storage.models.bundled import load_sentence_transformer
from storage.models.hardware import cpu_threads
from storage.settings.sections import Settings
from storage.training.evidence import RatedReply
from storage.training.samples import DrawnSample, record_samples
from trainer.data.lone_votes import SampleRequest
from trainer.data.plan import NO_OPINION, VoterPreferences, lone_votes
from trainer.data.survey import Survey
from trainer.errors import TrainerError
from trainer.evaluation.sampling import open_adapter, open_sampler
from trainer.progress import Phase, ReportProgress, RoundProgress, begin_phase

if TYPE_CHECKING:
    from numpy.typing import NDArray


MAX_RATED = 4_000
"""Most rated answers to fit on, the newest: embedding one takes about 3 ms on two cores."""
FOLDS = 5
MIN_OF_EACH_KIND = FOLDS
REGULARISATION = 1.0
"""Inverse strength of the L2 penalty."""
EMBEDDING_SCALE = 3.0
"""Embeddings have length 1, the other features unit variance each; this balances them."""
SURFACE_FEATURES = 7
PROMPT_CHARS = 800
SAMPLING = {"temperature", "top_p", "presence_penalty", "max_new_tokens"}


@dataclass(frozen=True)
class PreferenceModel:
    """Gives the probability that members like an answer."""

    auc: float
    """Area under the ROC curve on prompts that the fold was not fitted on; 1/2 is chance."""
    _classifier: Any
    _encoder: Any

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
        """Return P(liked) of each answer to its prompt."""
        if not prompts:
            return []
        return [float(p) for p in self._classifier.predict_proba(_features(self._encoder, prompts, answers))[:, 1]]


def fit_preference_model(replies: Sequence[RatedReply], encoder: Any, seed: int) -> PreferenceModel | None:
    """Fit on the answers that members like or dislike on balance; return None if there are too few of one kind.

    Cross-validation keeps all answers to one prompt in one fold.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    rated = [reply for reply in replies if reply.net][-MAX_RATED:]
    prompts, liked = [reply.prompt for reply in rated], [reply.net > 0 for reply in rated]
    prompts_of = [{p for p, like in zip(prompts, liked, strict=True) if like is kind} for kind in (True, False)]
    if min(map(len, prompts_of)) < MIN_OF_EACH_KIND:
        return None
    features = _features(encoder, prompts, [reply.answer for reply in rated])
    weights = [abs(reply.net) for reply in rated]
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    fit_weights = {"logisticregression__sample_weight": weights}
    with threadpool_limits(1):  # the other cores belong to the bot, and would gain nothing here
        guesses = cross_val_predict(
            _classifier(), features, liked, groups=prompts, cv=folds, method="decision_function", params=fit_weights
        )
        classifier = _classifier().fit(features, liked, **fit_weights)
    return PreferenceModel(float(roc_auc_score(liked, guesses, sample_weight=weights)), classifier, encoder)


def load_encoder() -> Any:
    """Return the sentence encoder (384 dimensions); raises TrainerError if its package is not installed."""
    try:
        return load_sentence_transformer()
    except EncoderError as error:
        raise TrainerError(str(error)) from error


def _classifier() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    surface = make_column_transformer((StandardScaler(), slice(-SURFACE_FEATURES, None)), remainder="passthrough")
    return make_pipeline(surface, LogisticRegression(C=REGULARISATION, max_iter=1000))


def _features(encoder: Any, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[Any]:
    """Return (N, 2 * 384 + SURFACE_FEATURES): prompt, answer, and length and punctuation, which embeddings blur."""
    import numpy as np

    # The encoder reads 256 tokens, and rendered prompts differ at their end.
    ends = [prompt[-PROMPT_CHARS:] for prompt in prompts]
    embedded = EMBEDDING_SCALE * encoder.encode([*ends, *answers], show_progress_bar=False)
    surface = np.array([_surface(answer) for answer in answers])
    return np.hstack([embedded[: len(prompts)], embedded[len(prompts) :], surface])


def _surface(answer: str) -> list[float]:
    emoji = sum(unicodedata.category(character) == "So" for character in answer)
    return [
        math.log1p(len(answer.split())),
        math.log1p(len(answer)),
        math.log1p(answer.count("!")),
        math.log1p(answer.count("?")),
        math.log1p(emoji),
        math.log1p(answer.count("\n")),
        float(answer.rstrip().endswith("?")),
    ]


def fit_preferences(
    survey: Survey, settings: Settings, report: ReportProgress
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
    report: ReportProgress,
) -> None:
    """Draw and store the requested answers of the survey's parent."""
    wanted = [request for request in requests for _ in range(request.count)]
    advance = begin_phase(report, Phase.SAMPLING, len(wanted))
    seed, generation = settings.training.seed, settings.generation
    with cpu_threads(settings.training.threads):
        sampler = open_sampler(settings, base, open_adapter(store, survey.parent, base))
        samples = sampler.answer([request.prompt for request in wanted], generation, seed, advance)
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
