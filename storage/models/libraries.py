"""PyTorch, transformers and the libraries on top of them: how threads share them, and what to say if one is broken.

These libraries import one another in circles, and transformers resolves its names lazily. A second thread that imports
one at the same moment sees a half-initialised module ("cannot import name"), so only the thread that holds
MODEL_LIBRARIES imports them or loads with them.

Every process imports this module before them: it also sets how their OpenMP threads wait. It imports none of them at
the top.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import warnings
from collections.abc import Iterator
from types import MappingProxyType

MODEL_LIBRARIES = threading.RLock()
"""Held while a thread imports them, or loads a model or tokenizer, which imports more of them."""


WAITING = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"})
"""Make OpenMP threads sleep while they wait for each other: GNU's OpenMP (Linux), and LLVM's or Intel's (elsewhere).

By default they spin. With one other busy process, answers then take several times as long (docs/engines.md).
Values from the environment are kept.
"""
for _name, _value in WAITING.items():
    os.environ.setdefault(_name, _value)


@contextlib.contextmanager
def silence_transformers() -> Iterator[None]:
    """Hold MODEL_LIBRARIES and hide transformers' progress bars and advice, which are global to the process."""
    with MODEL_LIBRARIES:
        from transformers.utils import logging

        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                # PEFT 0.21 asks for an attribute that transformers 5.24 has renamed.
                warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
                yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def broken_library(error: BaseException) -> str:
    """Return a sentence that names the library whose import caused the error, or "" if no import did."""
    failed: ImportError | None = None
    cause: BaseException | None = error
    while cause is not None:
        failed = cause if isinstance(cause, ImportError) else failed
        cause = cause.__cause__
    if failed is None:
        return ""
    library = (failed.name or "").partition(".")[0] or "a library"
    return f"{library} cannot be imported ({failed}): reinstall it with pip"


def import_error_in(last_words: str) -> ImportError | None:
    """Return the ImportError that ended another process, read from the last line of its traceback."""
    kind, _, message = last_words.partition(": ")
    if kind not in ("ImportError", "ModuleNotFoundError"):
        return None
    named = re.search(r"(?:from|named) '([\w.]+)'", message)
    return ImportError(message, name=named[1] if named else None)
