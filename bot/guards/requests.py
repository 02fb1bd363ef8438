"""Begins requests: each has an ID, which all its log lines have, and the language of whoever reads its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import discord

from bot.localization.languages import languages_of
from bot.localization.sentences import speak, speaking
from storage.runtime.requests import begin_request, new_request_id, working_on


def begin_interaction(interaction: discord.Interaction) -> None:
    """Begin a request in the member's language; discord.py runs each command, button and form in its own task."""
    begin_request()
    speak(languages_of(interaction.client).of_member(interaction))


async def defer_publicly(interaction: discord.Interaction) -> None:
    """Begin an answer that everybody sees, in the language of the place."""
    await interaction.response.defer()
    speak_publicly(interaction)


def speak_publicly(interaction: discord.Interaction) -> None:
    """Say what follows in the language of the place."""
    speak(languages_of(interaction.client).of_place(interaction.guild_id, interaction.user.id))


@contextmanager
def working_on_event(client: discord.Client, event: discord.Message | discord.RawReactionActionEvent) -> Iterator[None]:
    """Begin a request in the language of the place of a message or a reaction; new tasks inherit both."""
    with working_on(new_request_id()), speaking(languages_of(client).of_event(event)):
        yield
