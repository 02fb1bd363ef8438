"""Takes members' better answers, and what they say is wrong with an answer."""

from __future__ import annotations

from collections.abc import Sequence
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.chat.prompting import sanitize
from bot.errors import UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately
from bot.guards.interactions import Form, PersistentButton
from bot.services import Services
from storage.conversations.replies import Reply, find_by_message, find_reply, latest_in_channel
from storage.database.enums import Cause
from storage.members import note_members
from storage.privacy.consent import basis_of_chat
from storage.training.evidence import WrittenCorrection, read_corrections
from storage.votes.corrections import (
    check_correction,
    current_correction,
    give_cause,
    latest_correction_in_channel,
    suggest,
    withdraw,
)

FORM_CHARS = 4_000  # Discord's limit
THANKS = "Thank you! Your answer counts as the better one in the next round."
TOO_NEW = "Thank you! I keep it with the answer, but don't learn from it: your account or membership is too new."
NOT_TRAINED = "Thank you! I keep it with the answer, but don't learn from it. `/privacy show` says why."
NO_ANSWER_HERE = "I haven't answered anything in this channel yet."
WHAT_IS_WRONG = "What is wrong with that answer?"
ADD_THUMB = " Add a 👎 to the answer too, or this doesn't count."
NOTED = {
    Cause.WRONG_FACT: "Noted: a wrong fact. I show it to the admins as a gap in what I know, and don't learn from it.",
    Cause.WRONG_TONE: "Noted: the wrong tone. Show me a better one with `/suggest`.",
    Cause.TOO_LONG: "Noted: too long.",
    Cause.UNSAFE: "Noted: unsafe. If the answer has to be removed now, tell an admin.",
    Cause.OTHER: "Noted. You can write a better answer with `/suggest`.",
}
NOTED_IN_PRIVATE = "Noted: a wrong fact. I don't learn from it, and admins can't read it."


class Feedback(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._menus = (
            app_commands.ContextMenu(name="Suggest a better answer", callback=self.suggest_from_menu),
            app_commands.ContextMenu(name="What is wrong with it?", callback=self.ask_for_cause),
        )

    async def cog_load(self) -> None:
        for menu in self._menus:
            self.bot.tree.add_command(menu)
        self.bot.add_dynamic_items(WithdrawButton, CauseButton)

    async def cog_unload(self) -> None:
        for menu in self._menus:
            self.bot.tree.remove_command(menu.name, type=menu.type)
        self.bot.remove_dynamic_items(WithdrawButton, CauseButton)

    async def suggest_from_menu(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Write a better answer than this one."""
        reply = await self.services.database.read(find_by_message, message.id)
        await self._open_form(interaction, reply, NOT_MINE)

    @app_commands.command(name="suggest")
    async def suggest_for_latest(self, interaction: discord.Interaction) -> None:
        """Suggest a better answer than the latest one in this channel."""
        channel_id = interaction.channel_id or 0
        reply = await self.services.database.read(latest_in_channel, channel_id)
        await self._open_form(interaction, reply, NO_ANSWER_HERE)

    async def _open_form(self, interaction: discord.Interaction, reply: Reply | None, otherwise: str) -> None:
        if reply is None or not reply.answer:
            raise UserFacingError(otherwise)
        author = interaction.user.id
        earlier = await self.services.database.read(current_correction, reply.id, author)
        draft = earlier.text if earlier else reply.answer
        await interaction.response.send_modal(SuggestionForm(self.services, reply, draft))

    @app_commands.command(name="withdraw")
    async def withdraw_latest(self, interaction: discord.Interaction) -> None:
        """Withdraw the latest answer that you suggested in this channel."""
        await interaction.response.defer(ephemeral=True)
        author, channel_id = interaction.user.id, interaction.channel_id or 0

        def withdraw_newest(session: Session) -> bool:
            correction = latest_correction_in_channel(session, channel_id, author)
            return correction is not None and withdraw(session, correction.id, author)

        withdrawn = await self.services.database.run(withdraw_newest)
        text = "Your latest suggestion is withdrawn." if withdrawn else "You have no suggestion in this channel."
        await answer_privately(interaction, text)

    async def ask_for_cause(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Say what is wrong with an answer."""
        await interaction.response.defer(ephemeral=True)
        reply = await self.services.database.read(find_by_message, message.id)
        if reply is None:
            raise UserFacingError(NOT_MINE)
        view = discord.ui.View(timeout=None)
        for cause in Cause:
            view.add_item(CauseButton(reply.id, cause))
        await answer_privately(interaction, WHAT_IS_WRONG, view)


class SuggestionForm(Form):
    def __init__(self, services: Services, reply: Reply, draft: str) -> None:
        super().__init__(title="A better answer")
        self._services = services
        self._reply_id = reply.id
        longest = min(FORM_CHARS, services.settings.corrections.max_chars)
        self.text: discord.ui.TextInput[SuggestionForm] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph,
            default=draft[:longest],
            max_length=longest,
            required=False,
            custom_id="text",
        )
        self.add_item(discord.ui.Label(text="What should I have answered?", component=self.text))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        author, settings = interaction.user, self._services.settings

        def store_suggestion(session: Session) -> tuple[int, list[WrittenCorrection]]:
            reply = find_reply(session, self._reply_id)
            if reply is None:
                raise UserFacingError(NOT_MINE)
            text = check_correction(sanitize(self.text.value), reply.answer, settings.corrections)
            speakers = {*reply.speakers, author.id}
            basis = self._services.fixed_basis or basis_of_chat(session, speakers)
            if isinstance(author, discord.Member) and author.joined_at is not None:
                # Before the reply is locked, in the same order as votes and deletions.
                note_members(session, author.guild.id, {author.id: author.joined_at})
            id_ = suggest(session, reply.id, author.id, text, basis)
            where = (reply.personality_id, settings.privacy, self._services.base.revision)
            return id_, read_corrections(session, *where, settings.votes, only=id_)

        await interaction.response.defer(ephemeral=True, thinking=True)
        correction_id, usable = await self._services.database.run(store_suggestion)
        view = discord.ui.View(timeout=None)
        view.add_item(WithdrawButton(correction_id))
        await answer_privately(interaction, _thank(usable), view)


def _thank(usable: Sequence[WrittenCorrection]) -> str:
    """Return what to say to a suggestion; `usable` holds it if it can be trained on."""
    if not usable:
        return NOT_TRAINED
    return THANKS if usable[0].weight else TOO_NEW


class WithdrawButton(
    PersistentButton,
    template=r"reactune:withdraw:(?P<id>\d+)",
):
    def __init__(self, correction_id: int) -> None:
        self.correction_id = correction_id
        super().__init__(f"reactune:withdraw:{correction_id}", "Withdraw")

    @classmethod
    def parse(cls, match: Match[str]) -> WithdrawButton:
        return cls(int(match["id"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        author = interaction.user.id
        await interaction.response.defer()
        withdrawn = await services.database.run(withdraw, self.correction_id, author)
        text = "Your suggestion is withdrawn." if withdrawn else "That suggestion was withdrawn already."
        await interaction.edit_original_response(content=text, view=None)


class CauseButton(
    PersistentButton,
    template=r"reactune:cause:(?P<reply>\d+):(?P<cause>[a-z_]+)",
):
    def __init__(self, reply_id: int, cause: Cause) -> None:
        self.reply_id = reply_id
        self.cause = cause
        super().__init__(f"reactune:cause:{reply_id}:{cause.name.lower()}", cause.value.capitalize())

    @classmethod
    def parse(cls, match: Match[str]) -> CauseButton:
        return cls(int(match["reply"]), Cause[match["cause"].upper()])

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await interaction.response.defer()
        is_down = await services.database.run(give_cause, self.reply_id, interaction.user.id, self.cause)
        in_private = interaction.guild_id is None and self.cause is Cause.WRONG_FACT
        noted = NOTED_IN_PRIVATE if in_private else NOTED[self.cause]
        text = NOT_MINE if is_down is None else noted + ("" if is_down else ADD_THUMB)
        await interaction.edit_original_response(content=text, view=None)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Feedback(bot, services))
