"""Commands as the operator's shell knows them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SLASH_COMMANDS = "Commands that begin with / are for Discord."


def as_called(text: str) -> str:
    """Return a text whose commands work in the operator's shell, such as `.venv/bin/reactune doctor`."""
    if shutil.which("reactune"):
        return text
    called = Path(sys.argv[0])
    return text.replace("`reactune ", f"`{called if called.stem == 'reactune' else 'python -m reactune'} ")


def say_where_to_type(text: str) -> str:
    """Return the text, with a line that says where to type slash commands if it names one."""
    return f"{text}\n{SLASH_COMMANDS}" if "`/" in text else text
