"""The model that judges whether answers are coherent: a pip package, a folder, a hub ID, or the base itself."""

from __future__ import annotations

from pathlib import Path

from storage.errors import BaseModelError
from storage.models.base_model import HUB_ID, BaseModel, describe_model, fetch_model
from storage.models.conversion import Report
from storage.models.gemma import GEMMA, converted, is_installed

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
