"""Cards as files and as a form."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import discord
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.guards.audit import action_of, run_audited_as
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import AdminForm
from bot.personalities.selection import NEXT_STEP, describe_change, format_sampling, require_own
from bot.services import Services
from storage.errors import CardError
from storage.models.personality_files import (
    ImportedPersonality,
    Provenance,
    import_personality_file,
    read_provenance,
    zip_version,
)
from storage.personalities.cards import (
    MAX_CARD_BYTES,
    MAX_DESCRIPTION_CHARS,
    MAX_GREETING_CHARS,
    Card,
    Example,
    build_card,
)
from storage.personalities.personalities import CARD_SUFFIX, Personality, change_card, create_personality
from storage.releases.versions import version_named

log = logging.getLogger(__name__)


MAX_ATTACHMENT_BYTES = 100_000_000

FIELD_CHARS = 4000  # Discord's limit
SAMPLING_CHARS = 200
EDIT_AGAIN_S = 900.0
PERSON = ">"
PROMPT_HELP = "Starts every conversation. If empty, the prompt in the settings is used."
GREETING_HELP = "Posted in a channel or thread when the personality is bound there."
SAMPLING_HELP = "Such as temperature = 0.7, top_p = 0.9, max_new_tokens = 200. If empty, the settings apply."
EXAMPLES_HELP = "Blank lines separate dialogues. A person's lines start with >, the other lines are the bot's."

_ASSIGNMENT = re.compile(r"(?P<name>[a-z_]+)\s*[=:]\s*(?P<number>\d+(\.\d+)?)")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


async def version_file(services: Services, personality: Personality, version: str, limit_bytes: int) -> discord.File:
    """Return a version as a zip file; raises UserFacingError for the base, and for files over the limit."""
    name, packed = await pack_version(services, personality, version)
    if len(packed) > limit_bytes:
        raise UserFacingError(
            f"That export is {len(packed) / 1e6:.0f} MB, more than Discord accepts here. The operator can run "
            f"`reactune personality export {personality.name} FOLDER`."
        )
    return discord.File(BytesIO(packed), name)


async def pack_version(services: Services, personality: Personality, version: str) -> tuple[str, bytes]:
    """Return the name and the content of a version's zip file; raises UserFacingError for the base."""

    def read(session: Session) -> Provenance | None:
        found = version_named(session, personality.id, version)
        return read_provenance(session, personality, found, services.settings) if found else None

    origin = await services.database.read(read)
    if origin is None:
        raise UserFacingError("The base model has no adapter to export: choose a version such as v1.")
    packed = await asyncio.to_thread(zip_version, services.adapters, services.base, origin)
    return f"{personality.name}-{origin.versions[0].name}.zip", packed


async def import_attachment(
    interaction: discord.Interaction, services: Services, file: discord.Attachment, name: str | None
) -> ImportedPersonality:
    """Import a card or an exported version; raises UserFacingError or StorageError."""
    _require_importable(file)
    content = await file.read()

    def run() -> ImportedPersonality:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(file.filename).name
            path.write_bytes(content)
            return import_personality_file(
                services.database,
                services.adapters,
                services.base,
                path,
                name=name or path.stem,
                model_base=services.settings.model.base,
                by=user_label(interaction.user),
                guild_id=interaction.guild_id,
                may_change=lambda personality: require_own(services, personality, {interaction.guild_id or 0}),
            )

    return await asyncio.to_thread(run)


def _require_importable(file: discord.Attachment) -> None:
    """Raise UserFacingError if the file is of another type, or too large to download."""
    is_card = file.filename.endswith(CARD_SUFFIX)
    if not is_card and not file.filename.endswith(".zip"):
        raise UserFacingError(f"{file.filename} is neither a card (.toml) nor an export (.zip).")
    limit = MAX_CARD_BYTES if is_card else MAX_ATTACHMENT_BYTES
    if file.size > limit:
        raise UserFacingError(
            f"{file.filename} is larger than {limit // 1_000:,} kB, the limit for a card. Shorten it."
            if is_card
            else f"{file.filename} is larger than {limit // 1_000_000} MB. The operator can run "
            "`reactune personality import`."
        )


class CardForm(AdminForm):
    """Creates a personality or changes its card; examples that do not fit into the form are kept."""

    action = "personality card"

    def __init__(
        self, services: Services, name: str, before: Personality | None, draft: Mapping[str, str] | None = None
    ) -> None:
        """`draft` holds the fields of a form that was refused."""
        super().__init__(services, f"{'Edit' if before else 'Create'} {name}")
        self._name = name
        self._before = before
        self._card = card = before.card if before else Card()
        asked = [
            ("description", "Description", "One sentence, for lists.", card.description, MAX_DESCRIPTION_CHARS, False),
            ("system_prompt", "System prompt", PROMPT_HELP, card.system_prompt, FIELD_CHARS, True),
            ("greeting", "Greeting", GREETING_HELP, card.greeting, MAX_GREETING_CHARS, True),
            ("sampling", "Sampling", SAMPLING_HELP, format_sampling(card.sampling), SAMPLING_CHARS, False),
            ("examples", "Example dialogues", EXAMPLES_HELP, format_examples(card.examples), FIELD_CHARS, True),
        ]
        self._fields = [
            self._ask(key, label, help_text, default=(draft or {}).get(key, default), limit=limit, long=long)
            for key, label, help_text, default, limit, long in asked
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
                return f"Created **{self._name}**. {NEXT_STEP.format(name=self._name)}"
            return describe_change(before.name, changed=change_card(session, before, card, by=by))

        outcome = await run_audited_as(interaction, action_of(interaction, self.action, self._name), write)
        log.info("%s wrote the card of %s.", by, self._name)
        await answer_privately(interaction, outcome)

    async def on_error(self, interaction: discord.Interaction, error: Exception, /) -> None:
        await super().on_error(interaction, error)
        again = _EditAgain(partial(CardForm, self._services, self._name, self._before, self._filled_in))
        with contextlib.suppress(*DISCORD_ERRORS):
            await interaction.followup.send("Your text is not lost.", view=again, ephemeral=True)


class _EditAgain(discord.ui.View):
    """Opens a refused form again, with what it held."""

    def __init__(self, form: Callable[[], CardForm]) -> None:
        super().__init__(timeout=EDIT_AGAIN_S)
        self._form = form

    @discord.ui.button(label="Edit again")
    async def edit(self, interaction: discord.Interaction, _button: discord.ui.Button[Self]) -> None:
        await interaction.response.send_modal(self._form())


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
                f"dialogue {number} starts with the bot: start it with a person's line, which begins with {PERSON}"
            )
    return dialogues


def parse_sampling(text: str) -> dict[str, float]:
    """Return the numbers by name; raises CardError on anything but assignments."""
    found = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        match = _ASSIGNMENT.fullmatch(part)
        if match is None:
            raise CardError(f"the sampling {part!r} is not valid: write a name and a number, such as temperature = 0.7")
        found[match["name"]] = float(match["number"])
    return found


def card_from_form(fields: Mapping[str, str], before: Card) -> Card:
    """Return the card in the form; what has no field is kept from `before`. Raises CardError."""
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
