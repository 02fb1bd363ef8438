"""PyTorch, transformers and what builds on them: one thread at a time imports them, loads with them or sets them up.

They import one another in circles, and transformers finds its names when they are asked for: a second thread that
imports meanwhile meets half a module ("cannot import name"). Imports nothing of them by itself, and says how their
threads wait: every process imports this before them, with the settings.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from types import MappingProxyType

MODEL_LIBRARIES = threading.RLock()
"""Held by the thread that imports them or loads a model or tokenizer, which imports more of them."""


WAITING = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"})
"""What lets OpenMP's threads sleep while they wait for each other: GNU's (Linux), and LLVM's or Intel's (elsewhere).

By default they spin, and beside one other busy process an answer then takes many times as long (docs/engines.md).
"""
for _name, _value in WAITING.items():
    os.environ.setdefault(_name, _value)


@contextlib.contextmanager
def silence_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and advice, which are the whole process's, away from the operator's terminal."""
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
