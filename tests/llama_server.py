"""llama.cpp's own server in this process, from the wheels of xllamacpp."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from storage.models.base_model import BUNDLED_FILE, BUNDLED_PACKAGE


def is_installed() -> bool:
    return find_spec("xllamacpp") is not None


def serve(loras: Sequence[Path], *, places: int, context_tokens: int, threads: int, model: Path | None = None) -> Any:
    """Return the server, which ends when it is forgotten; its address is `listening_address`.

    `model` is a GGUF file; without one, the bundled model answers. `places` answers at once have `context_tokens` each.
    Adapters count in full where a request says nothing else.
    """
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model or distribution(BUNDLED_PACKAGE).locate_file(BUNDLED_FILE))
    parameters.verbosity = 0  # errors only
    parameters.n_parallel = places
    parameters.n_ctx = places * context_tokens
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0) for lora in loras]
    return xllamacpp.Server(parameters)
