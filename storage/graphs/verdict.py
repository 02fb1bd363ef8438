"""Whether a base's graphs say what transformers says: found once, kept beside them. Imports no model library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from storage.base_model import BaseModel
from storage.graphs.options import graph_folder
from storage.graphs.support import UnsupportedModel, require_supported

REFUSED = "refused"
"""The key of a verdict that says why."""


class Verifier:
    """Lets a process compare with transformers where none has: that needs torch, which the bot does not."""

    def __init__(self, base: BaseModel, data_directory: Path, dtype: str) -> None:
        """`dtype` is that of serving."""
        self._base = base
        self._data_directory = data_directory
        self._dtype = dtype
        self._process: subprocess.Popen[str] | None = None
        self._is_cancelled = False

    def require(self) -> Path:
        """Return the folder of graphs that may be used; raises UnsupportedModel, which says why they may not.

        Takes up to half a minute where nobody has compared them; any thread may call `cancel` meanwhile.
        """
        require_supported(self._base.path)
        if find_spec("openvino_genai") is None:
            raise UnsupportedModel("OpenVINO GenAI is not installed (pip install openvino-genai)")
        folder = graph_folder(self._base, self._data_directory)
        verdict = folder / f"verified-{self._dtype}.json"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".verified.lock"):
            if not verdict.exists():
                self._compare(verdict)
                _remove_others(folder)
        if reason := json.loads(verdict.read_text(encoding="utf-8")).get(REFUSED):
            raise UnsupportedModel(reason)
        return folder

    def cancel(self) -> None:
        """Let a comparison in progress, or the next one, end as refused."""
        self._is_cancelled = True
        if self._process:
            self._process.kill()

    def _compare(self, verdict: Path) -> None:
        command = [sys.executable, "-m", "storage.graphs.verification", str(self._base.path), self._dtype, str(verdict)]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C must not look like a verdict
        )
        if self._is_cancelled:
            self._process.kill()
        _, errors = self._process.communicate()
        if self._process.returncode:
            reason = errors.strip().rpartition("\n")[2] or f"code {self._process.returncode}, out of memory perhaps"
            raise UnsupportedModel(f"its graph could not be compared with transformers: {reason}")


def _remove_others(folder: Path) -> None:
    """Remove graphs of other bases, recipes and releases of OpenVINO, which take gigabytes and are soon made again."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
