"""No library tells its makers anything, in no process of ours."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage import SENDERS, SWITCHES
from storage.settings.sections import TrainingSettings
from trainer.training.memory_plan import USUAL
from trainer.training.recipes import training_options

ROOT = Path(__file__).parent.parent.parent
ASKED = (
    "import sys, os; import {package}; from storage import SENDERS, SWITCHES; "
    "assert all(os.environ[name] == value for name, value in SWITCHES.items()); "
    "assert all(sys.modules[sender] is None for sender in SENDERS)"
)


@pytest.mark.parametrize("package", ["storage", "bot", "trainer", "reactune"])
def test_every_package_switches_it_off(package: str) -> None:
    """Even where the environment asks for it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_TELEMETRY": "0", "DO_NOT_TRACK": "0"}
    asked = subprocess.run([sys.executable, "-c", ASKED.format(package=package)], env=environment, check=False)
    assert asked.returncode == 0


def test_libraries_see_it() -> None:
    from huggingface_hub import constants

    assert constants.HF_HUB_DISABLE_TELEMETRY
    assert os.environ.items() >= SWITCHES.items()
    for sender in SENDERS:
        with pytest.raises(ImportError):
            importlib.import_module(sender)


def test_openvino_reports_to_a_stub() -> None:
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_rounds_report_to_no_tracker(tmp_path: Path) -> None:
    assert training_options(tmp_path, TrainingSettings(), USUAL, validates=False)["report_to"] == "none"
