"""Whether a base's graphs say what transformers says: found once, kept beside them. Imports no model library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from storage.files import sync_file
from storage.models.base_model import BaseModel, window_of
from storage.models.hardware import has_gpu, serving_format
from storage.models.openvino.options import graph_folder
from storage.models.openvino.support import MAX_POSITIONS, UnsupportedModel, require_supported
from storage.runtime.processes import DETACHED
from storage.settings.sections import ModelSettings

REFUSED = "refused"
"""The key of a verdict that says why."""
TOO_LARGE = "comparing it with transformers took more memory than there is; in doubt, delete data/engine"
KILLED = -9
"""By the system, out of memory."""


def prefers_graphs(settings: ModelSettings) -> bool:
    """Say whether graphs are to answer where they can; "auto" leaves a GPU to transformers."""
    return settings.engine == "openvino" or (settings.engine == "auto" and not has_gpu())


class Verifier:
    """Lets a process compare with transformers where none has: that needs torch, which the bot does not."""

    def __init__(self, base: BaseModel, data_directory: Path, settings: ModelSettings) -> None:
        self._base = base
        self._data_directory = data_directory
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._is_cancelled = False

    def require(self) -> Path:
        """Return the folder of graphs that may be used; raises UnsupportedModel, which says why they may not.

        Takes up to half a minute where nobody has compared them; any thread may call `cancel` meanwhile.
        """
        reason = self.verdict
        try:
            if reason is None:
                reason = self._find_out()
        except (OSError, Timeout) as error:
            raise UnsupportedModel(f"its graphs cannot be stored in {self._data_directory} ({error})") from error
        if reason:
            raise UnsupportedModel(reason)
        return self._folder

    @property
    def verdict(self) -> str | None:
        """Why the graphs were refused, "" where they were not, None where nobody has compared them.

        Raises UnsupportedModel where nobody needs to.
        """
        require_supported(self._base.path)
        if find_spec("openvino_genai") is None:
            raise UnsupportedModel("OpenVINO GenAI is not installed (pip install openvino-genai)")
        if window_of(self._base.path, self._settings) > MAX_POSITIONS:
            raise UnsupportedModel(f"model.context_tokens = {self._settings.context_tokens} is above {MAX_POSITIONS}")
        return _reason_in(self._file)

    def cancel(self) -> None:
        """Let a comparison in progress, or the next one, end as refused."""
        self._is_cancelled = True
        if self._process:
            self._process.kill()

    @property
    def _folder(self) -> Path:
        return graph_folder(self._base, self._data_directory)

    @property
    def _file(self) -> Path:
        return self._folder / f"verified-{serving_format(self._settings)}.json"

    def _find_out(self) -> str:
        """Compare unless another process has done so meanwhile, and return why the graphs are refused, or ""."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".verified.lock").acquire(cancel_check=lambda: self._is_cancelled):
            if _reason_in(self._file) is None:
                self._compare(self._file)
                _remove_others(self._folder)
        return _reason_in(self._file) or ""

    def _compare(self, verdict: Path) -> None:
        # A folder of its own in which it may be killed.
        workshop = verdict.parent / ".comparing"
        try:
            workshop.mkdir(exist_ok=True)
            code, errors = self._run_comparison(verdict, workshop)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        if self._is_cancelled:
            raise UnsupportedModel("the comparison with transformers was cancelled")
        if code == KILLED:
            write_verdict(verdict, {REFUSED: TOO_LARGE})  # the next start would run out of memory again
        elif code:
            last_words = errors.strip().rpartition("\n")[2]
            raise UnsupportedModel(f"its graph could not be compared with transformers: {last_words}")

    def _run_comparison(self, verdict: Path, workshop: Path) -> tuple[int, str]:
        """Return how the process ended, and its last words."""
        arguments = str(self._base.path), serving_format(self._settings), str(verdict), str(workshop)
        with subprocess.Popen(
            [sys.executable, "-m", "storage.models.openvino.compare_logits", *arguments],
            stdin=subprocess.PIPE,  # it ends when this process does
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
    """Write it whole or not at all."""
    staging = verdict.with_suffix(".staging")
    staging.write_text(json.dumps(found), encoding="utf-8")
    sync_file(staging)
    staging.replace(verdict)


def _reason_in(verdict: Path) -> str | None:
    """Return why the graphs were refused, "" where they were not, None without a verdict that can be read."""
    try:
        found: dict[str, str] = json.loads(verdict.read_text(encoding="utf-8"))
        return found.get(REFUSED, "")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _remove_others(folder: Path) -> None:
    """Remove graphs of other bases, recipes and releases of OpenVINO, which take gigabytes and are soon made again."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
