"""Slash commands: the list of those that a person may use, and commands that somebody types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from discord import app_commands
from discord.ext import commands

from bot.demo.channel.forms import Field, Given, option_field, read_options
from bot.demo.channel.world import ADMIN, Seat
from bot.errors import UserFacingError

SLASH = "/"
SlashCommand = app_commands.Command[Any, ..., Any]


@dataclass(frozen=True)
class Call:
    """A command with the values of its options."""

    command: SlashCommand
    given: Mapping[str, Given]

    @property
    def name(self) -> str:
        return self.command.qualified_name

    @property
    def lacks_options(self) -> bool:
        return any(option.required and not self.given.get(option.display_name) for option in self.command.parameters)

    def fields(self, seat: Seat) -> list[Field]:
        return [option_field(option, seat.world).filled(self.given) for option in self.command.parameters]

    async def run(self, seat: Seat) -> str | None:
        """Use the command; return the key of the form that the bot opens, if it does. Raises UserFacingError."""
        if self.lacks_options:
            raise UserFacingError(f"Fill in the required fields of `/{self.name}`.")
        return await seat.slash(self.name, read_options(self.command, self.given, seat.world))

    async def suggestions(self, seat: Seat, option: str) -> list[str]:
        """Return the bot's suggestions for an option that is being filled in."""
        others = {key: value for key, value in self.given.items() if key != option and value and isinstance(value, str)}
        typed = self.given.get(option, "")
        offered = await seat.complete(self.name, option, typed if isinstance(typed, str) else "", others)
        return [str(choice["value"]) for choice in offered]


def list_commands(seat: Seat) -> list[SlashCommand]:
    """Return the commands that this person may use here, by name."""
    known = _known_commands(seat)
    return [known[name] for name in sorted(seat.command_names()) if name in known]


def find_command(seat: Seat, name: str) -> SlashCommand:
    """Return the command that a person may use here; raises UserFacingError with a remedy."""
    known = _known_commands(seat)
    if name in seat.command_names() and name in known:
        return known[name]
    if name in known:
        raise UserFacingError(f"You may not use `/{name}` here. Use it in a channel, as {ADMIN}, the admin.")
    alike = [command.qualified_name for command in list_commands(seat) if command.qualified_name.startswith(name)]
    offer = (
        f"Choose one: {', '.join(f'`/{one}`' for one in alike)}."
        if name and alike
        else "The *Commands* button lists them all."
    )
    raise UserFacingError(f"There is no command `/{name}`. {offer}")


def read_call(seat: Seat, text: str) -> Call:
    """Return the command in a text such as "/version promote v1 override:True"; raises UserFacingError."""
    words = text.removeprefix(SLASH).split()
    known = _known_commands(seat)
    names = [" ".join(words[:length]) for length in range(len(words), 0, -1)]
    name = next((name for name in names if name in known), " ".join(words))
    command = find_command(seat, name)
    rest = re.sub(r"\s*".join(map(re.escape, name.split())), "", text.removeprefix(SLASH), count=1)
    return Call(command, _read_given(command, rest.strip()))


def _read_given(command: SlashCommand, text: str) -> dict[str, Given]:
    """Return {option: value}; text before all names belongs to the first option."""
    options = [option.display_name for option in command.parameters]
    if not options:
        if text:
            raise UserFacingError(f"`/{command.qualified_name}` has no options: leave out “{text}”.")
        return {}
    first, *pairs = re.split(rf"(?:^|\s+)({'|'.join(map(re.escape, options))}):\s*", text)
    given: dict[str, Given] = {options[0]: first} if first else {}
    return given | dict(zip(pairs[::2], pairs[1::2], strict=True))


def _known_commands(seat: Seat) -> dict[str, SlashCommand]:
    found = _tree_of(seat).walk_commands()
    return {command.qualified_name: command for command in found if isinstance(command, app_commands.Command)}


def _tree_of(seat: Seat) -> app_commands.CommandTree[Any]:
    bot = seat.world.env.bot
    assert isinstance(bot, commands.AutoShardedBot)
    return bot.tree
