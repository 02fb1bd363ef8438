"""Verifies a base's OpenVINO graphs before they answer: compares them with transformers and stores the verdict.

Imports no model library: the bot's own process uses this module.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

from storage.errors import BaseModelError
from storage.models.base_model import BaseModel
from storage.models.free_memory import free_memory, oom_kills
from storage.models.hardware import has_gpu, import_error_in, serving_format
from storage.models.openvino.graph_cache import GRAPHS, graph_folder, verdict_file
from storage.models.openvino.recipes import RECIPES, GraphRecipe, GraphVerdict, read_verdict, write_verdict
from storage.models.openvino.support import UnloadableModel, UnsupportedModel, unsupported_because, why_unsupported
from storage.runtime.processes import DETACHED
from storage.settings.sections import ModelSettings, Settings
from storage.wording import format_bytes

log = logging.getLogger(__name__)

TOO_LARGE = "comparing it with transformers took more memory than was free ({free}): free some, then start again"
CLEARLY_MORE = 1.25
"""Multiple of the memory free then from which comparing is tried again: a failed try takes minutes. Not calibrated: a
finished round frees more, and idle processes vary by less."""
LOCK_FILE = ".verified.lock"
UNLOADABLE = f"{BaseModelError.__module__}.{BaseModelError.__qualname__}: "
"""Beginning of the process's last line if transformers cannot load the base."""
KILLED = -9
"""Exit code after SIGKILL, a name that Windows lacks: out of memory if the kernel counts it, else killed otherwise."""


def prefers_graphs(settings: ModelSettings) -> bool:
    """Return whether OpenVINO should answer if possible; "auto" leaves a GPU to transformers."""
    return settings.engine == "openvino" or (settings.engine == "auto" and not has_gpu())


def is_served_as_graph(config: Mapping[str, Any], settings: ModelSettings) -> bool:
    """Return whether OpenVINO answers with a base with this config.json, unless the comparison refuses it."""
    return prefers_graphs(settings) and not why_unsupported(config, settings)


@dataclass(frozen=True)
class Graphs:
    """Verified graphs, which may answer."""

    folder: Path
    verdict: GraphVerdict

    @property
    def recipe(self) -> GraphRecipe:
        return RECIPES[self.verdict.recipe]


class Verifier:
    """Compares the graphs with transformers in a separate process, which needs torch; the bot does not."""

    def __init__(self, base: BaseModel, data_directory: Path, settings: ModelSettings) -> None:
        self._base = base
        self._data_directory = data_directory
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._is_cancelled = False

    def require(self, *, keep_others: bool = False) -> Graphs:
        """Return the graphs that may be used; raises UnsupportedModel with the reason if none may.

        `keep_others` keeps the graphs of other bases, with which a bot may be answering. If the graphs have not been
        compared yet, it takes up to half a minute for a small base, and minutes for one of billions of parameters; any
        thread may call `cancel` meanwhile.
        """
        verdict = self.verdict
        try:
            if verdict is None:
                verdict = self._find_out()
            if not keep_others:
                _remove_others(self._folder)
        except OSError as error:
            raise UnsupportedModel(f"its graphs cannot be stored in {self._data_directory} ({error})") from error
        if verdict.refused:
            raise UnsupportedModel(verdict.refused)
        return Graphs(self._folder, verdict)

    @property
    def verdict(self) -> GraphVerdict | None:
        """The verdict of the last comparison; None if there was none yet.

        Raises UnsupportedModel if there is nothing to compare.
        """
        if reason := unsupported_because(self._base, self._settings):
            raise UnsupportedModel(reason)
        if find_spec("openvino_genai") is None:
            missing = ModuleNotFoundError("it is not installed", name="openvino_genai")
            raise UnsupportedModel("OpenVINO GenAI is not installed (pip install openvino-genai)") from missing
        return self._stored()

    def cancel(self) -> None:
        """End a comparison in progress, and any later one, with UnsupportedModel."""
        self._is_cancelled = True
        if self._process:
            self._process.kill()

    @property
    def _folder(self) -> Path:
        return graph_folder(self._base, self._data_directory)

    @property
    def file(self) -> Path:
        """The verdict's file."""
        return verdict_file(self._folder, serving_format(self._settings))

    def _find_out(self) -> GraphVerdict:
        """Compare the graphs, unless another process has just done so, and return the verdict."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / LOCK_FILE).acquire(cancel_check=lambda: self._is_cancelled):
            verdict = self._stored()
            if verdict is None:
                log.info(
                    "Comparing OpenVINO with transformers on %s, once for each base model and number format: about "
                    "half a minute for the bundled one on two cores.",
                    self._base.name,
                )
                self._compare(self.file)
                verdict = self._stored()
        if verdict is None:
            raise UnsupportedModel(f"the comparison with transformers left no result in {self.file}")
        if not verdict.refused:
            log.info("OpenVINO answers with %s.", verdict.describe())
        return verdict

    def _stored(self) -> GraphVerdict | None:
        """Return the stored verdict; None if memory was too little then and is clearly more now."""
        verdict = read_verdict(self.file)
        if verdict and verdict.free_bytes and free_memory().free >= CLEARLY_MORE * verdict.free_bytes:
            return None
        return verdict

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
            write_verdict(verdict, GraphVerdict(refused=reason, free_bytes=free))
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
        """Return the process's exit code and its standard error."""
        arguments = str(self._base.path), serving_format(self._settings), str(verdict), str(workshop)
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


def newest_verdict(revision: str, settings: Settings) -> GraphVerdict | None:
    """Return the last verdict on this base; the next start removes older ones from the disk."""
    name = verdict_file(Path(), serving_format(settings.model)).name
    found = list((settings.data.directory / GRAPHS).glob(f"{revision}-*/{name}"))
    return read_verdict(max(found, key=lambda file: file.stat().st_mtime)) if found else None


def _remove_others(folder: Path) -> None:
    """Remove graphs of other bases, formats, recipes and OpenVINO releases: gigabytes that are quick to rebuild."""
    for other in folder.parent.glob("*/"):
        if other != folder:
            with suppress(OSError), FileLock(other / LOCK_FILE, timeout=0):  # not while another process compares them
                shutil.rmtree(other, ignore_errors=True)
