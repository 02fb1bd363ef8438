"""The tables of docs/commands.md follow from the commands themselves; `make references` writes them anew."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import discord
import typer
from discord import app_commands
from typer.core import TyperGroup, TyperOption

from bot.guards.audit import ALSO_FOR_ADMINS, is_for_admins
from bot.localization.languages import SHIPPED, read_catalogue, texts_of
from reactune.app import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "commands.md"
GERMAN = SHIPPED / "de.po"
NAMED = re.compile(r"`/([a-z]+)(?: ([a-z-]+)\b(?!:))?")
"""A command, and the word after it unless that names an option."""
WRITES = "WRITE_REFERENCES"
"""The variable of the environment with which the test writes the page."""
COMMON = frozenset({"--help", "--config", "--json"})


def table(head: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join([f"| {head} | What it does |", "|---|---|", *(f"| {name} | {does} |" for name, does in rows)])


def slash_commands(tree: app_commands.CommandTree, *, for_admins: bool) -> list[tuple[str, str]]:
    """Return each command with its options, and its description."""
    found = [command for command in tree.walk_commands() if isinstance(command, app_commands.Command)]
    shown = [
        command
        for command in sorted(found, key=lambda command: command.qualified_name)
        if (is_for_admins(command) and command.qualified_name not in ALSO_FOR_ADMINS) is for_admins
    ]
    options = [" ".join(f"{option.display_name}:" for option in command.parameters) for command in shown]
    return [
        (f"`{f'/{command.qualified_name} {given}'.strip()}`", command.description)
        for command, given in zip(shown, options, strict=True)
    ]


def menus(tree: app_commands.CommandTree) -> list[str]:
    found = tree.get_commands(type=discord.AppCommandType.message)
    return [f"*{menu.name}*{' (admins)' if is_for_admins(menu) else ''}" for menu in found]


def shell_commands(group: TyperGroup, words: str = "reactune") -> Iterator[tuple[str, str]]:
    """Yield each command with its arguments and visible options, and the first paragraph of its help."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from shell_commands(command, f"{words} {name}")
            continue
        options = [
            param.opts[0] if isinstance(param, TyperOption) else (param.metavar or param.name or "").upper()
            for param in command.params
            if not (isinstance(param, TyperOption) and param.hidden)
        ]
        shown = " ".join([words, name, *(option for option in options if option not in COMMON)])
        yield f"`{shown}`", " ".join((command.help or "").split("\n\n")[0].split())


def reference(tree: app_commands.CommandTree) -> str:
    shell = typer.main.get_command(app)
    assert isinstance(shell, TyperGroup)
    return "\n\n".join(
        [
            "## Commands of members",
            table("Command", slash_commands(tree, for_admins=False)),
            "## Commands of admins",
            table("Command", slash_commands(tree, for_admins=True)),
            "## Message menus",
            f"A right click on a message, or a long press on a phone, then *Apps*: {', '.join(menus(tree))}.",
            "## The operator's command line",
            table("Command", [row for row in shell_commands(shell) if not row[0].startswith("`reactune bench")]) + "\n",
        ]
    )


def test_texts_and_pages_name_commands_that_exist(env) -> None:
    commands = list(env.bot.tree.walk_commands())
    groups = {command.name for command in commands if isinstance(command, app_commands.Group)}
    known = {command.qualified_name for command in commands}
    said = "\n".join(text for message in read_catalogue(GERMAN) for text in texts_of(message.id))
    pages = [page.read_text(encoding="utf-8") for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]
    assert {word for word, _ in NAMED.findall(said)} <= known
    named = NAMED.findall("\n".join([said, *pages]))
    assert {f"{word} {part}" for word, part in named if word in groups and part} <= known


def test_docs_list_the_commands_as_the_program_has_them(env) -> None:
    text = PAGE.read_text(encoding="utf-8")
    written, start = reference(env.bot.tree), text.index("## Commands of members")
    if WRITES in os.environ:
        PAGE.write_text(text[:start] + written, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8")[start:] == written
