"""The form to write a card."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import discord
from sqlalchemy.orm import Session

from bot.guards.access import user_label
from bot.guards.audit import action_of, run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import DraftForm
from bot.localization.sentences import gettext
from bot.personalities.descriptions import NEXT_STEP, describe_change, format_sampling
from bot.services import Services
from storage.errors import CardError
from storage.personalities.cards import MAX_DESCRIPTION_CHARS, MAX_GREETING_CHARS, Card, Example, build_card
from storage.personalities.personalities import Personality, change_card, create_personality
from storage.sentences import Sentence
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

FIELD_CHARS = 4000  # Discord's limit
SAMPLING_CHARS = 200
PERSON = ">"
FIELD_WORDS = {
    "description": (gettext_noop("Description"), gettext_noop("One sentence, for lists.")),
    "system_prompt": (
        gettext_noop("System prompt"),
        gettext_noop("Starts every conversation. If empty, the prompt in the settings is used."),
    ),
    "greeting": (
        gettext_noop("Greeting"),
        gettext_noop("Posted in a channel or thread when the personality is bound there."),
    ),
    "sampling": (
        gettext_noop("Sampling"),
        gettext_noop("Such as temperature = 0.7, top_p = 0.9, max_new_tokens = 200. If empty, the settings apply."),
    ),
    "examples": (
        gettext_noop("Example dialogues"),
        gettext_noop("Blank lines separate dialogues. A person's lines start with >, the other lines are the bot's."),
    ),
}
"""The label and the help text of each field."""

_ASSIGNMENT = re.compile(r"(?P<name>[a-z_]+)\s*[=:]\s*(?P<number>\d+(\.\d+)?)")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


class CardForm(DraftForm):
    """Creates a personality or changes its card; examples that do not fit into the form are kept."""

    action = "personality card"

    def __init__(
        self, services: Services, name: str, before: Personality | None, draft: Mapping[str, str] | None = None
    ) -> None:
        """`draft` holds the fields of a refused form."""
        super().__init__(services, gettext("Edit {name}", name=name) if before else gettext("Create {name}", name=name))
        self._name = name
        self._before = before
        self._card = card = before.card if before else Card()
        asked = [
            ("description", card.description, MAX_DESCRIPTION_CHARS, False),
            ("system_prompt", card.system_prompt, FIELD_CHARS, True),
            ("greeting", card.greeting, MAX_GREETING_CHARS, True),
            ("sampling", format_sampling(card.sampling), SAMPLING_CHARS, False),
            ("examples", format_examples(card.examples), FIELD_CHARS, True),
        ]
        self._fields = [
            self._ask(
                key, *map(gettext, FIELD_WORDS[key]), default=(draft or {}).get(key, default), limit=limit, long=long
            )
            for key, default, limit, long in asked
            if default is not None
        ]

    @property
    def _filled_in(self) -> dict[str, str]:
        return {field.custom_id: field.value for field in self._fields}

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        before = self._before
        card = card_from_form(self._filled_in, self._card)
        by, guild_id = user_label(interaction.user), interaction.guild_id

        def write(session: Session) -> str:
            if before is None:
                create_personality(session, self._name, card, by=by, guild_id=guild_id)
                created = gettext("Created **{name}**.", name=self._name)
                return f"{created} {gettext(NEXT_STEP, name=self._name)}"
            return describe_change(before.name, changed=change_card(session, before, card, by=by))

        outcome = await run_audited(interaction, action_of(interaction, self.action, self._name), write)
        log.info("%s wrote the card of %s.", by, self._name)
        await answer_privately(interaction, outcome)

    def again(self) -> CardForm:
        return CardForm(self._services, self._name, self._before, self._filled_in)


def format_examples(examples: Iterable[Example]) -> str | None:
    """Return the dialogues as the form shows them; None if the form could not return them unchanged."""
    dialogues = [list(example.dialogue) for example in examples]
    text = "\n\n".join(map(_format_dialogue, dialogues))
    return text if len(text) <= FIELD_CHARS and _parse(text) == dialogues else None


def parse_examples(text: str) -> list[list[str]]:
    """Return the dialogues, each a list of turns; raises CardError if the bot starts one."""
    dialogues = _parse(text)
    for number, block in enumerate(_blocks(text), start=1):
        if not block.startswith(PERSON):
            raise CardError(
                "dialogue {number} starts with the bot: start it with a person's line, which begins with {person}",
                number=number,
                person=PERSON,
            )
    return dialogues


def parse_sampling(text: str) -> dict[str, float]:
    """Return the numbers by name; raises CardError on anything but assignments."""
    found = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        match = _ASSIGNMENT.fullmatch(part)
        if match is None:
            raise CardError(
                "the sampling {part} is not valid: write a name and a number, such as temperature = 0.7",
                part=repr(part),
            )
        found[match["name"]] = float(match["number"])
    return found


def card_from_form(fields: Mapping[str, str], before: Card) -> Card:
    """Return the card in the form; values without a field are kept from `before`. Raises CardError."""
    table: dict[str, Any] = before.as_dict()
    for name in ("description", "system_prompt", "greeting"):
        table[name] = fields[name].strip()
    table["sampling"] = parse_sampling(fields["sampling"])
    if "examples" in fields:
        table["examples"] = [{"dialogue": turns} for turns in parse_examples(fields["examples"])]
    return build_card(table, Sentence("the card"))


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
