"""Switches off the telemetry of libraries; importing any of our packages runs this first."""

from __future__ import annotations

import os
import sys

SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, through which TRL and transformers report
    "DISABLE_TELEMETRY": "1",  # its name in older releases
    "DO_NOT_TRACK": "1",  # a convention of many tools: https://consoledonottrack.com
}
SENDERS = ("openvino_telemetry",)
"""Packages that only send telemetry: OpenVINO reports its import to Google Analytics unless this one is missing."""


def switch_off() -> None:
    """Switch off telemetry in all libraries that are imported from now on, overriding the environment."""
    os.environ.update(SWITCHES)
    for sender in SENDERS:
        sys.modules[sender] = None  # type: ignore[assignment]  # makes its import fail
