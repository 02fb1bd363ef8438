"""Shared by bot and trainer: settings, database, adapter files. Importing it switches off telemetry of libraries."""

import os
import sys

SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, through which TRL and transformers report
    "DISABLE_TELEMETRY": "1",  # its name in older releases
    "DO_NOT_TRACK": "1",  # a convention of many tools: https://consoledonottrack.com
}
SENDERS = ("openvino_telemetry",)
"""Packages that only send telemetry: OpenVINO reports its import to Google Analytics unless this one is missing."""

# This happens here, because every process imports this package before any library with telemetry.
os.environ.update(SWITCHES)
for _sender in SENDERS:
    sys.modules[_sender] = None  # pyrefly: ignore[unsupported-operation]  # makes its import fail
