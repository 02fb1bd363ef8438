"""Verifies a base's OpenVINO graphs before they answer: compares them with transformers and stores the verdict.

Imports no model library: the bot's own process uses this module.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from storage.errors import BaseModelError
from storage.files import read_json_object, sync_file
from storage.models.base_model import BaseModel
from storage.models.free_memory import free_memory, oom_kills
from storage.models.hardware import has_gpu, import_error_in, serving_format
from storage.models.openvino.pipeline import graph_folder, verdict_file
from storage.models.openvino.support import UnloadableModel, UnsupportedModel, unsupported_because
from storage.runtime.processes import DETACHED
from storage.settings.sections import ModelSettings
from storage.wording import format_bytes

log = logging.getLogger(__name__)

REFUSED = "refused"
"""Key of a verdict whose value is the reason."""
FREE_BYTES = "free_bytes"
"""Key beside a refusal for want of memory: what was free without the comparison."""
TOO_LARGE = "comparing it with transformers took more memory than was free ({free}): free some, then start again"
CLEARLY_MORE = 1.25
"""Times the memory of then, because a vain try takes minutes. Not calibrated: a round that ends gives back more, what
idle processes take and give is less."""
LOCK_FILE = ".verified.lock"
UNLOADABLE = f"{BaseModelError.__module__}.{BaseModelError.__qualname__}: "
"""How the process says last that transformers cannot load the base."""
KILLED = -9
"""By SIGKILL, a name that Windows lacks: out of memory if the kernel counts it so, else by a person or a container."""


def prefers_graphs(settings: ModelSettings) -> bool:
    """Return whether OpenVINO should answer if it can; "auto" leaves a GPU to transformers."""
    return settings.engine == "openvino" or (settings.engine == "auto" and not has_gpu())


class Verifier:
    """Compares the graphs with transformers in a separate process, which needs torch; the bot does not."""

    def __init__(self, base: BaseModel, data_directory: Path, settings: ModelSettings) -> None:
        self._base = base
        self._data_directory = data_directory
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._is_cancelled = False

    def require(self, *, keep_others: bool = False) -> Path:
        """Return the folder of graphs that may be used; raises UnsupportedModel with the reason if they may not.

        `keep_others` keeps the graphs of other bases, with which a bot may be answering.
        Takes up to half a minute if they were not compared yet; any thread may call `cancel` in the meantime.
        """
        reason = self.verdict
        try:
            if reason is None:
                reason = self._find_out()
            if not keep_others:
                _remove_others(self._folder)
        except OSError as error:
            raise UnsupportedModel(f"its graphs cannot be stored in {self._data_directory} ({error})") from error
        if reason:
            raise UnsupportedModel(reason)
        return self._folder

    @property
    def verdict(self) -> str | None:
        """The reason the graphs were refused, "" if they were accepted, None if they were not compared yet.

        Raises UnsupportedModel if there is nothing to compare.
        """
        if reason := unsupported_because(self._base, self._settings):
            raise UnsupportedModel(reason)
        if find_spec("openvino_genai") is None:
            missing = ModuleNotFoundError("it is not installed", name="openvino_genai")
            raise UnsupportedModel("OpenVINO GenAI is not installed (pip install openvino-genai)") from missing
        return _reason_in(self._file)

    def cancel(self) -> None:
        """End a comparison in progress, and any later one, with UnsupportedModel."""
        self._is_cancelled = True
        if self._process:
            self._process.kill()

    @property
    def _folder(self) -> Path:
        return graph_folder(self._base, self._data_directory, self._settings.weight_format)

    @property
    def _file(self) -> Path:
        return verdict_file(self._folder, serving_format(self._settings))

    def _find_out(self) -> str:
        """Compare, unless another process has just done so; return why the graphs are refused, or ""."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / LOCK_FILE).acquire(cancel_check=lambda: self._is_cancelled):
            reason = _reason_in(self._file)
            if reason is None:
                log.info(
                    "Comparing OpenVINO with transformers on %s, once for each base model and number format: about "
                    "half a minute for the bundled one on two cores.",
                    self._base.name,
                )
                self._compare(self._file)
                reason = _reason_in(self._file)
        return reason or ""

    def _compare(self, verdict: Path) -> None:
        workshop = verdict.parent / ".comparing"  # the process may be killed at any moment: its files stay in here
        kills = oom_kills()
        try:
            workshop.mkdir(exist_ok=True)
            code, errors = self._run_comparison(verdict, workshop)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        if self._is_cancelled:
            raise UnsupportedModel("the comparison with transformers was cancelled")
        if code == KILLED and oom_kills() > kills:  # the next start would run out of memory again
            free = free_memory().free
            reason = TOO_LARGE.format(free=format_bytes(free))
            write_verdict(verdict, {REFUSED: reason, FREE_BYTES: free})
            raise UnsupportedModel(reason)
        if code:
            killed = f"its process was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else ""
            last_words = killed or errors.strip().rpartition("\n")[2]
            if last_words.startswith(UNLOADABLE):
                raise UnloadableModel(last_words.removeprefix(UNLOADABLE))
            raise UnsupportedModel(
                f"its graph could not be compared with transformers: {last_words}"
            ) from import_error_in(last_words)

    def _run_comparison(self, verdict: Path, workshop: Path) -> tuple[int, str]:
        """Return the exit code of the process, and what it wrote to standard error."""
        formats = serving_format(self._settings), self._settings.weight_format
        arguments = str(self._base.path), *formats, str(verdict), str(workshop)
        with subprocess.Popen(
            [sys.executable, "-m", "storage.models.openvino.comparison", *arguments],
            stdin=subprocess.PIPE,  # the process ends when this one does
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **DETACHED,  # Ctrl-C must not look like a verdict
        ) as process:
            self._process = process
            if self._is_cancelled:
                process.kill()
            assert process.stderr is not None
            errors = process.stderr.read()
            return process.wait(), errors


def write_verdict(verdict: Path, found: Mapping[str, object]) -> None:
    """Write the whole file or nothing."""
    staging = verdict.with_suffix(".staging")
    staging.write_text(json.dumps(found), encoding="utf-8")
    sync_file(staging)
    staging.replace(verdict)


def _reason_in(verdict: Path) -> str | None:
    """Return why the graphs were refused, "" if they were accepted, None if they are to be compared (again)."""
    try:
        found = read_json_object(verdict)
        was_free = float(found.get(FREE_BYTES, math.inf))
    except (OSError, ValueError, TypeError):
        return None
    return None if free_memory().free >= CLEARLY_MORE * was_free else str(found.get(REFUSED, ""))


def _remove_others(folder: Path) -> None:
    """Remove graphs of other bases, formats, recipes and OpenVINO releases: gigabytes that are quick to rebuild."""
    for other in folder.parent.glob("*/"):
        if other != folder:
            with suppress(OSError), FileLock(other / LOCK_FILE, timeout=0):  # not while another process compares them
                shutil.rmtree(other, ignore_errors=True)
