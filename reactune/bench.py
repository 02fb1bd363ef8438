"""`reactune bench`: the benchmarks of a checkout."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from reactune.shared import needed_by
from storage.errors import SettingsError


class Benches(TyperGroup):
    """Loads the benchmarks from a checkout; an installation without one says what it needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        with contextlib.suppress(SettingsError):
            self._load("")
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def _load(self, name: str) -> None:
        if self.commands:
            return
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout, whatever the current folder is
        with needed_by(f"bench {name}", "it in a checkout after `pip install -e '.[bench]'`"):
            module = importlib.import_module("tests.benchmarks.command_line")
        self.commands.update(get_group(module.bench).commands)


bench = typer.Typer(cls=Benches, no_args_is_help=True, help="Run benchmarks; needs a checkout with the bench extra.")
