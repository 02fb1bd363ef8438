"""Keeps libraries from telling their makers anything; importing any of our packages passes here first."""

from __future__ import annotations

import os
import sys

SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub: TRL reports every trainer through it, transformers itself
    "DISABLE_TELEMETRY": "1",  # the same, as older releases call it
    "DO_NOT_TRACK": "1",  # what many tools agreed on: https://consoledonottrack.com
}
SENDERS = ("openvino_telemetry",)
"""Packages that do nothing but send: OpenVINO reports its own import to Google Analytics unless this one is missing."""


def switch_off() -> None:
    """Take no telemetry from any library that is imported from now on, whatever the environment says."""
    os.environ.update(SWITCHES)
    for sender in SENDERS:
        sys.modules[sender] = None  # type: ignore[assignment]  # Python's way of saying that it cannot be imported
