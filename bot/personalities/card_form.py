"""A personality's card as the text of a form, and back; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from storage.errors import CardError
from storage.personalities.cards import Card, CardSampling, Example, build_card

FIELD_CHARS = 4000  # Discord's limit
PERSON = ">"
EXAMPLES_HELP = (
    "A blank line between dialogues. Lines that begin with > are a person's, the others the bot's, for example:\n"
    "> How is the sea?\nFlat. For now."
)
SAMPLING_HELP = "temperature = 0.7, top_p = 0.9, presence_penalty = 1.5, max_new_tokens = 200; empty is as set up"

_ASSIGNMENT = re.compile(r"(?P<name>[a-z_]+)\s*[=:]\s*(?P<number>\d+(\.\d+)?)")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def format_examples(examples: Iterable[Example]) -> str | None:
    """Return the dialogues as a form shows them; None where it cannot hold them and give them back unchanged."""
    dialogues = [list(example.dialogue) for example in examples]
    text = "\n\n".join(map(_format_dialogue, dialogues))
    return text if len(text) <= FIELD_CHARS and _parse(text) == dialogues else None


def parse_examples(text: str) -> list[list[str]]:
    """Return the dialogues, each a list of turns; raises CardError on one that the bot begins."""
    dialogues = _parse(text)
    for number, block in enumerate(_blocks(text), start=1):
        if not block.startswith(PERSON):
            raise CardError(
                f"dialogue {number} begins with the bot: a person begins, on a line that starts with {PERSON}"
            )
    return dialogues


def format_sampling(sampling: CardSampling) -> str:
    own = sampling.model_dump(exclude_none=True)
    return ", ".join(f"{name} = {value}" for name, value in own.items())


def parse_sampling(text: str) -> dict[str, float]:
    """Return the numbers by name; raises CardError on what is no assignment."""
    found = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        match = _ASSIGNMENT.fullmatch(part)
        if match is None:
            raise CardError(f"the sampling {part!r} is no number with a name: write it as in temperature = 0.7")
        found[match["name"]] = float(match["number"])
    return found


def card_from_form(fields: Mapping[str, str], before: Card) -> Card:
    """Return the card that the form says; what it has no field for is that of `before`. Raises CardError."""
    table: dict[str, Any] = before.as_dict()
    for name in ("description", "system_prompt", "greeting"):
        table[name] = fields[name].strip()
    table["sampling"] = parse_sampling(fields["sampling"])
    if "examples" in fields:
        table["examples"] = [{"dialogue": turns} for turns in parse_examples(fields["examples"])]
    return build_card(table, "the card")


def _parse(text: str) -> list[list[str]]:
    return [list(_turns(block)) for block in _blocks(text)]


def _blocks(text: str) -> list[str]:
    return [block.strip() for block in _BLANK_LINES.split(text.replace("\r", "").strip()) if block.strip()]


def _format_dialogue(turns: Iterable[str]) -> str:
    return "\n".join(
        "\n".join(f"{PERSON} {line}" for line in turn.split("\n")) if index % 2 == 0 else turn
        for index, turn in enumerate(turns)
    )


def _turns(block: str) -> Iterator[str]:
    for is_person, lines in groupby(block.split("\n"), key=lambda line: line.lstrip().startswith(PERSON)):
        if is_person:
            yield "\n".join(line.lstrip().removeprefix(PERSON).removeprefix(" ") for line in lines)
        else:
            yield "\n".join(lines)
