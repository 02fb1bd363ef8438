"""Predicts whether members would like an answer: a logistic regression on all votes so far, with its AUC."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.errors import EncoderError
from storage.models.sentence_encoder import load_sentence_transformer
from storage.training.evidence import RatedReply
from trainer.errors import TrainerError

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
