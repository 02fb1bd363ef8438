"""People do not read the words that only our code needs: each thing has one plain word, on every surface."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.localization.languages import SHIPPED, SUFFIX, read_catalogue, texts_of
from tests.translations import collect

ROOT = Path(__file__).parents[1]
DROPPED = {
    r"champions?": "the version in use",
    r"challengers?": "the new version",
    r"alias(?:es)?": "the previous version",
    r"last[ -]good": "the previous version",
    r"canar(?:y|ies)": "nothing: a version is compared in blind pairs",
    r"gates?": "checks",
    r"verdicts?": "checks: passed, failed; being compared",
    r"basis|bases of training": "may be used for training",
    r"quarantined?|quarantines": "suspicious votes, on hold",
    r"bursts?": "suspicious votes",
    r"siblings?": "answers to the same question",
    r"lineages?": "history",
    r"manifests?": "history",
    r"sittings?": "session",
    r"likings?|the taste": "what members like",
    r"picks?|picked": "choice",
    r"labels?|labell?ed|labell?ing": "choice",
    r"nats": "nothing, outside of details",
    r"voters?": "members",
    r"e-values?": "nothing, outside of details",
    r"Wilson": "nothing, outside of details",
    r"margins?": "nothing, outside of details",
}
"""{dropped word, as a regular expression: the word to use}"""
DROPPED_GERMAN = re.compile(
    r"\b(?:Champions?|Alias\w*|Quarantäne|\w*schw[aä]ll\w*|Schw[aä]ll\w*|Manifest\w*|Trainingsgrundlage|Geschm[aä]ck\w*|E-Werte?|Nats)\b"
)
DROPPED_WORD = re.compile(rf"\b(?:{'|'.join(DROPPED)})\b", re.IGNORECASE)
NOT_READ = re.compile(r"`[^`]*`|\{[^{}]*\}|https?://\S+|reactune:\S+")
"""Commands, placeholders, addresses and IDs of buttons."""
IN_ENGLISH = ("bot/console", "bot/demo", "bot/cogs", "reactune")
"""Folders whose sentences are not in a catalogue, or not all of them: what the audit trail keeps is English."""
GUIDES = ("README.md", "docs/*.md")
EXPLAINED = {"docs/checks.md", "docs/monitoring.md", "docs/settings.md"}
"""Guides that explain such words, or name settings and metrics."""


def dropped_in(text: str) -> list[str]:
    return DROPPED_WORD.findall(NOT_READ.sub(" ", text))


def read_by_members() -> Iterator[tuple[str, str]]:
    """Yield (where, sentence) of every sentence that has a translation."""
    for message, files in collect().items():
        for text in [message] if isinstance(message, str) else message:
            yield min(files), text


def in_german() -> Iterator[tuple[str, str]]:
    for message in read_catalogue(SHIPPED / f"de{SUFFIX}"):
        for text in texts_of(message.string):
            yield f"de{SUFFIX}", text


def in_templates() -> Iterator[tuple[str, str]]:
    """Yield (where, line) of the words in the console's pages, with the words of attributes that are read."""
    for path in sorted((ROOT / "bot/console/templates").glob("*.html")):
        html = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", " ", path.read_text(encoding="utf-8"))
        html = re.sub(r"<details.*?</details>", " ", html, flags=re.DOTALL)
        spoken = re.findall(r'(?:aria-label|placeholder|title|alt)="([^"]*)"', html)
        for line in [*re.sub(r"<[^>]*>", " ", html).splitlines(), *spoken]:
            yield path.relative_to(ROOT).as_posix(), line


def in_english() -> Iterator[tuple[str, str]]:
    """Yield (where, sentence) of what the console and the command line say, with the help of commands."""
    for folder in IN_ENGLISH:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            silent = {id(text) for text in _docstrings(tree)}
            for node in ast.walk(tree):
                if id(node) not in silent and " " in (text := _text(node)).strip():
                    yield f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", text


def _text(node: ast.AST) -> str:
    """Return the text of a string, with {} for the values of one that has some."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the texts that only programmers read: docstrings, except those of commands, and of attributes."""
    commands = {
        id(node.body[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(one) for one in node.decorator_list)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and id(node) not in commands:
            yield node.value


def _blank(code: re.Match[str]) -> str:
    return "\n" * code[0].count("\n")


def in_guides() -> Iterator[tuple[str, str]]:
    for path in sorted(path for pattern in GUIDES for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        if name not in EXPLAINED:
            text = re.sub(r"```.*?```", _blank, path.read_text(encoding="utf-8"), flags=re.DOTALL)
            for number, line in enumerate(text.splitlines(), 1):
                yield f"{name}:{number}", line


@pytest.mark.parametrize(
    "read",
    [read_by_members, in_templates, in_english, in_guides],
    ids=lambda read: read.__name__,
)
def test_nobody_reads_a_dropped_word(read) -> None:
    found = [f"{where}: {words} in {text.strip()!r}" for where, text in read() if (words := dropped_in(text))]
    assert found == []


def test_german_has_dropped_them_too() -> None:
    assert [text for _, text in in_german() if DROPPED_GERMAN.search(NOT_READ.sub(" ", text))] == []


def test_the_guides_are_read_too() -> None:
    assert {where.partition(":")[0] for where, _ in in_guides()} >= {"README.md", "docs/privacy.md"}
    assert dropped_in("`/version lineage` shows the lineage of {champion}, the champion.") == ["lineage", "champion"]
