from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from reactune.app import main
from tests.bot.conftest import overrides, settings

__all__ = ["overrides", "settings"]


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Run `reactune …` in this process, in a folder, with these variables; return (exit code, output, error output)."""

    def run(folder, *words, typed="", **variables):
        capsys.readouterr()
        with monkeypatch.context() as changed:
            changed.chdir(folder)
            changed.setattr(sys, "argv", ["reactune", *words])
            changed.setattr(sys, "path", [*sys.path])
            changed.setattr(sys, "stdin", io.StringIO(typed))
            changed.setattr(logging.root, "handlers", [])
            for name in [name for name in os.environ if name.startswith("REACTUNE_") or name == "DISCORD_TOKEN"]:
                changed.delenv(name)
            for name, value in variables.items():
                changed.setenv(name, value)
            with pytest.raises(SystemExit) as left:
                main()
        return (left.value.code or 0, *capsys.readouterr())

    return run
