"""Collects the sentences of the source, and brings the catalogues in step; `make locales` runs it.

Sentences stand where they are said: in gettext and ngettext, in gettext_noop, Sentence and counted for what is stored,
in errors for members, and in what Discord shows about commands. Babel's own extraction knows the first kind only.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from babel.messages import Catalog
from babel.messages.pofile import write_po

from bot.localization.languages import MAX_DESCRIPTION_CHARS, SHIPPED, SUFFIX, read_catalogue, texts_of

ROOT = Path(__file__).parents[1]
FOLDERS = ("bot", "storage", "trainer")
LEFT_ENGLISH = (
    "bot/console",
    "bot/demo",
    "bot/engine",
    "storage/models/adapter_checks",
    "storage/models/base_model",
    "storage/models/effect",
    "storage/models/gguf",
    "storage/models/openvino",
    "storage/training",
    "trainer",
)
"""Web pages, and what only operators read, except what is marked there."""
WIDTH = 120
STORED = {"gettext_noop": 1, "Sentence": 1, "counted": 2}
FUNCTIONS = {"gettext": 1, "ngettext": 2} | STORED
"""How many arguments are sentences."""
ERRORS = frozenset({"StorageError", "UserFacingError", "_unreadable"})
"""Their subclasses as well, unless they are for operators."""
FOR_OPERATORS = frozenset(
    {
        "SettingsError",
        "DatabaseError",
        "BaseModelError",
        "EncoderError",
        "BackupRefused",
        "DataDirectoryInUse",
        "LeaseExpired",
        "ShardTaken",
        "StoreUnreachable",
        "CopyRefused",
        "SittingConflict",
        "TokenInUse",
    }
)
WORDS = frozenset({"Cause", "GateVerdict", "RoundStatus", "Stage", "Sureness", "VoteStatus"})
"""Enumerations whose values members read."""
DESCRIBED = ("description", "group_description")

MessageId = str | tuple[str, str]


def collect() -> dict[MessageId, set[str]]:
    """Return every sentence, or singular and plural, with the files that have it."""
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    left = {path for path in trees if path.relative_to(ROOT).as_posix().startswith(LEFT_ENGLISH)}
    errors = _error_classes(tree for path, tree in trees.items() if path not in left)
    found: dict[MessageId, set[str]] = {}
    for path, tree in trees.items():
        for sentence in _marked(tree) if path in left else _sentences(tree, errors):
            found.setdefault(sentence, set()).add(str(path.relative_to(ROOT)))
    return found


def refresh(path: Path) -> tuple[int, int]:
    """Add what a catalogue lacks, remove what is gone; return how many sentences it has, and wait for a translation."""
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]  # Babel's own has the time of day
    old, new = read_catalogue(path), Catalog()
    for message_id, files in sorted(collect().items(), key=lambda entry: (min(entry[1]), str(entry[0]))):
        known = old.get(message_id if isinstance(message_id, str) else message_id[0])
        same = known is not None and known.id == message_id
        new.add(message_id, known.string if same else None, locations=[(name, 0) for name in sorted(files)])
    with path.open("wb") as file:
        file.write(f"{header}\n\n".encode())
        write_po(file, new, width=WIDTH, include_lineno=False, omit_header=True)
    return len(new), sum(not all(texts_of(message.string) or [""]) for message in new if message.id)


def _error_classes(trees: Iterable[ast.Module]) -> set[str]:
    """Return the names of the errors whose messages members may read."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = set(ERRORS)
    while more := {name for name, parents in bases.items() if parents & found} - found - FOR_OPERATORS:
        found |= more
    return found


def _marked(tree: ast.Module) -> Iterator[MessageId]:
    """Return the stored texts that the bot translates when it shows them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in STORED:
            yield from _of_call(node, set())
        elif isinstance(node, ast.ClassDef) and node.name in WORDS:
            yield from _members(node)


def _members(enumeration: ast.ClassDef) -> Iterator[str]:
    return filter(None, (_constant(part.value) for part in enumeration.body if isinstance(part, ast.Assign)))


def _sentences(tree: ast.Module, errors: set[str]) -> Iterator[MessageId]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node, errors)
        elif isinstance(node, ast.ClassDef) and node.name in errors:
            yield from _of_class(node)
        elif isinstance(node, ast.ClassDef) and node.name in WORDS:
            yield from _members(node)
        elif isinstance(node, ast.AsyncFunctionDef) and any(map(_makes_command, node.decorator_list)):
            yield _described(ast.get_docstring(node) or "")
        if isinstance(node, ast.Call | ast.ClassDef):
            yield from (
                text for word in node.keywords if word.arg in DESCRIBED and (text := _constant(word.value)) is not None
            )


def _of_call(call: ast.Call, errors: set[str]) -> Iterator[MessageId]:
    name = _name(call.func)
    if name in errors and call.args and (text := _constant(call.args[0])):
        yield text
    elif name == "ContextMenu":
        yield from filter(None, (_constant(word.value) for word in call.keywords if word.arg == "name"))
    elif name == "describe":
        yield from filter(None, (_constant(word.value) for word in call.keywords))
    elif name == "Measure":
        yield from filter(None, map(_constant, call.args[2:4]))
    elif name in FUNCTIONS:
        texts = [_constant(argument) for argument in call.args[: FUNCTIONS[name]]]
        if texts and all(texts):
            yield (str(texts[0]), str(texts[1])) if len(texts) > 1 else str(texts[0])


def _of_class(node: ast.ClassDef) -> Iterator[str]:
    """Return what an error gives its base class."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__" and call.args:
            yield from filter(None, [_constant(call.args[0])])


def _makes_command(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and _name(decorator.func) == "command"


def _described(docstring: str) -> str:
    """Return what discord.py shows of a command's docstring."""
    text = " ".join(docstring.partition("\n\n")[0].split())
    return text if len(text) <= MAX_DESCRIPTION_CHARS else text[: MAX_DESCRIPTION_CHARS - 1] + "…"


def _name(function: ast.expr) -> str:
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def main() -> int:
    """Return 1 if sentences wait for a translation."""
    waiting_everywhere = 0
    for path in sorted(SHIPPED.glob(f"*{SUFFIX}")):
        sentences, waiting = refresh(path)
        waiting_everywhere += waiting
        print(f"{path.relative_to(ROOT)}: {sentences} sentences, {waiting} without a translation", flush=True)
    return int(waiting_everywhere > 0)


if __name__ == "__main__":
    sys.exit(main())
