"""Texts for members about their data, and the buttons below them."""

from __future__ import annotations

import gzip
import json
import logging
from enum import StrEnum
from re import Match
from typing import Any

import discord
from discord.utils import format_dt

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton, button_row
from bot.localization.sentences import gettext, ngettext, translated
from bot.services import Services
from storage.database.enums import Basis
from storage.members import greet, take_back_greeting
from storage.privacy.consent import give_consent
from storage.privacy.erasure import Deletion, delete_member
from storage.privacy.member_data import MemberDataSummary, summarize_member_data
from storage.privacy.retention import NO_BASIS, PrivacyReport, days_kept, describe_retention
from storage.settings.sections import PrivacySettings
from storage.wording import count, gettext_noop

log = logging.getLogger(__name__)


HOW_TO = gettext_noop(
    "Use `/privacy export` to get all of it, `/privacy delete` to delete it, and `/privacy opt-in` or `opt-out` to "
    "decide whether it may be used for training."
)
OUTSIDE_DISCORD = gettext_noop(
    "This is a demo on your own computer, not Discord, so everything said here may be used for training. On Discord, "
    "only messages of members who opted in may be."
)

NAME = "reactune-data"


def describe_member_data(data: MemberDataSummary, settings: PrivacySettings, *, on_discord: bool) -> str:
    """Return the stored data about a member, its age and retention, and the data that may be trained on."""
    kept = [
        *_count_answers(data.answers, data.votes),
        ngettext("{count} reason for a 👎", "{count} reasons for a 👎", data.causes) if data.causes else "",
        _count_choices(data.choices),
        _count_suggestions(data.suggestions),
        ngettext("{count} suggestion that you took back", "{count} suggestions that you took back", data.withdrawn)
        if data.withdrawn
        else "",
        *_count_memory(data.notes, data.summaries, data.documents),
        ngettext("{count} server join date", "{count} server join dates", data.memberships) if data.memberships else "",
    ]
    things = ", ".join(filter(None, kept))
    stored = gettext("I store about you: {things}.", things=things) if things else gettext("I store nothing about you.")
    if data.oldest:
        stored += " " + gettext("The oldest entry is from {date}.", date=format_dt(data.oldest, "D"))
    used = (
        describe_training(data, settings)
        if on_discord
        else f"{_describe_choice(data)} {_describe_reactions(data, settings)} {gettext(OUTSIDE_DISCORD)}"
    )
    return f"{stored} {_describe_deletion_by_age(settings, on_discord=on_discord)}\n{gettext(HOW_TO)}\n{used}"


def _describe_deletion_by_age(settings: PrivacySettings, *, on_discord: bool) -> str:
    answers = translated(describe_retention(settings, on_discord=on_discord))
    if not on_discord or not settings.retention_days:
        return f"{answers} {gettext('Your data is kept until you delete it.')}"
    rest = gettext(
        "The rest of your data is deleted {days} after you leave the server.",
        days=translated(days_kept(settings.retention_days)),
    )
    return f"{answers} {rest}"


def _describe_choice(data: MemberDataSummary) -> str:
    if data.opted_out_since:
        return gettext("You **opted out** on {date}.", date=format_dt(data.opted_out_since, "D"))
    if not data.consents_since:
        return gettext("You have **not** opted in.")
    return gettext("You **opted in** on {date}.", date=format_dt(data.consents_since, "D"))


def _describe_reactions(data: MemberDataSummary, settings: PrivacySettings) -> str:
    if not settings.learn_from_reactions or data.opted_out_since:
        return gettext("I don't learn from your reactions.")
    return gettext(
        "I learn from reactions which of my own answers people like. For that I look at my answers and at reactions, "
        "never at your messages. `/privacy opt-out` takes your reactions out of it."
    )


def describe_training(data: MemberDataSummary, settings: PrivacySettings) -> str:
    choice = f"{_describe_choice(data)} {_describe_reactions(data, settings)}"
    if settings.discord_training_permission:
        used = gettext("An answer may be used for training if everyone whose messages are in its prompt opted in.")
    else:
        used = gettext(
            "Messages on Discord are not used for training here: Discord forbids it without its permission, which the "
            "operator does not have."
        )
    return f"{choice} {used}"


def describe_opt_in(settings: PrivacySettings, *, is_new: bool, on_discord: bool) -> str:
    if not is_new:
        return _with_place(gettext("You had already opted in, so nothing changed."), on_discord)
    if not on_discord:
        return _with_place(gettext("You're opted in: I learn from your reactions."), on_discord)
    if settings.discord_training_permission:
        return gettext(
            "You're opted in: from now on, answers to your messages may be used for training. To take that back, use "
            "`/privacy opt-out`."
        )
    return gettext(
        "You're opted in. Nothing changes yet: messages on Discord are not used for training here. If the operator "
        "gets Discord's permission, yours may be."
    )


def describe_opt_out(*, is_new: bool, on_discord: bool) -> str:
    if not is_new:
        return _with_place(gettext("You had already opted out, so nothing changed."), on_discord)
    if not on_discord:
        return _with_place(gettext("You're opted out: I don't learn from your reactions any more."), on_discord)
    return gettext(
        "You're opted out. I don't learn from your reactions any more, and future training won't use answers to your "
        "messages, not even earlier ones."
    )


def _with_place(said: str, on_discord: bool) -> str:
    """Add the differences outside Discord."""
    return said if on_discord else f"{said} {gettext(OUTSIDE_DISCORD)}"


def describe_deletion(deleted: Deletion) -> str:
    """Return the deleted data, the versions trained on it, and the consequences for those."""
    gone = [
        *_count_answers(deleted.replies, deleted.votes),
        _count_choices(deleted.choices),
        _count_suggestions(deleted.corrections),
        *_count_memory(deleted.notes, deleted.summaries, deleted.documents),
    ]
    things = ", ".join(filter(None, gone))
    if not things:
        return gettext("Done. There were no messages, votes or notes of yours.")
    if not deleted.marked:
        return gettext("Deleted: {things}. No version was trained on them.", things=things)
    return gettext(
        "Deleted: {things}. Trained on them: {versions}. Admins can see that, and the next round trains without your "
        "data.",
        things=things,
        versions=", ".join(deleted.marked),
    )


def _count_answers(answers: int, voted_on: int) -> list[str]:
    return [
        ngettext("{count} answer based on your messages", "{count} answers based on your messages", answers)
        if answers
        else "",
        ngettext("your votes on {count} answer", "your votes on {count} answers", voted_on) if voted_on else "",
    ]


def _count_choices(choices: int) -> str:
    return ngettext("{count} choice between answers", "{count} choices between answers", choices) if choices else ""


def _count_suggestions(suggestions: int) -> str:
    return ngettext("{count} suggested answer", "{count} suggested answers", suggestions) if suggestions else ""


def _count_memory(notes: int, summaries: int, documents: int) -> list[str]:
    return [
        ngettext("{count} note", "{count} notes", notes) if notes else "",
        ngettext("{count} conversation summary", "{count} conversation summaries", summaries) if summaries else "",
        ngettext("{count} document with your messages", "{count} documents with your messages", documents)
        if documents
        else "",
    ]


def first_notice(settings: PrivacySettings) -> str:
    """Return the short notice below the first answer to a member."""
    if settings.retention_days:
        stored = ngettext(
            "Hello! I store your messages to me, my answers and your 👍 👎 for {count} day, and longer if somebody "
            "votes on an answer.",
            "Hello! I store your messages to me, my answers and your 👍 👎 for {count} days, and longer if somebody "
            "votes on an answer.",
            settings.retention_days,
        )
    else:
        stored = gettext("Hello! I store your messages to me, my answers and your 👍 👎.")
    said = [
        stored,
        gettext("Your messages are used for training only if you allow it.")
        if settings.discord_training_permission
        else gettext("Your messages are not used for training."),
        gettext("Reactions teach me which answers people like.") if settings.learn_from_reactions else "",
    ]
    return f"-# {' '.join(filter(None, said))}"


BASES = {
    Basis.LOCAL: "given outside Discord",
    Basis.PROMPT_BANK: "to the prompt bank",
    Basis.LIVE_CHAT: "to members who allow training",
    NO_BASIS: "that are not trained on",
}
"""The answers with each training basis, as operators read it."""


def report_lines(report: PrivacyReport, settings: PrivacySettings) -> list[str]:
    permission = "yes" if report.discord_training_permission else "no, so live chat is not trained on"
    lines = [f"Discord's permission to train on messages: {permission}.", describe_retention(settings)]
    if report.past_retention:
        lines.append(f"The next clean-up deletes {count(report.past_retention, 'answer')}.")
    for basis, ages in report.answers.items():
        counted = ", ".join(f"{number:,} {age}" for age, number in ages.items())
        lines.append(f"Answers {BASES.get(basis, basis)}: {sum(ages.values()):,} ({counted}).")
    lines += [f"Rows in {table}: {number:,}." for table, number in report.rows.items() if number]
    lines += [
        f"Members who opted in: {report.consents:,}; members who deleted their data: {report.erasures:,}.",
        f"Departed members and servers whose data is still stored: {report.departures:,}.",
        f"Versions trained on data that was deleted later: {', '.join(report.marked_versions) or 'none'}.",
    ]
    return lines


class PrivacyAction(StrEnum):
    SHOW = "show"
    ALLOW = "allow"
    DELETE = "delete"
    KEEP = "keep"


LABELS = {
    PrivacyAction.SHOW: gettext_noop("What's stored"),
    PrivacyAction.ALLOW: gettext_noop("Allow training"),
    PrivacyAction.DELETE: gettext_noop("Delete everything"),
    PrivacyAction.KEEP: gettext_noop("Keep my data"),
}


def buttons(*actions: PrivacyAction) -> discord.ui.View:
    return button_row(map(PrivacyButton, actions))


class PrivacyButton(PersistentButton, template=r"reactune:privacy:(?P<chosen>show|allow|delete|keep)"):
    """Acts for the member who presses it, so many members can use the same one."""

    def __init__(self, chosen: PrivacyAction) -> None:
        self.chosen = chosen
        style = discord.ButtonStyle.danger if chosen is PrivacyAction.DELETE else discord.ButtonStyle.secondary
        super().__init__(f"reactune:privacy:{chosen.value}", gettext(LABELS[chosen]), style)

    @classmethod
    def parse(cls, match: Match[str]) -> PrivacyButton:
        return cls(PrivacyAction(match["chosen"]))

    async def interaction_check(self, _interaction: discord.Interaction, /) -> bool:
        return True  # everyone may see and delete their own data

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        user_id = interaction.user.id
        if self.chosen in (PrivacyAction.SHOW, PrivacyAction.ALLOW):
            await interaction.response.defer(ephemeral=True, thinking=True)
            answer = describe_member if self.chosen is PrivacyAction.SHOW else opt_in
            await answer_privately(interaction, await answer(services, user_id))
            return
        await interaction.response.edit_message(
            content=gettext("One moment …"), view=None
        )  # no button for a second click
        done = gettext("Nothing was deleted.")
        if self.chosen is PrivacyAction.DELETE:
            services.attachments.recent.forget_all()
            done = describe_deletion(await services.database.run(delete_member, user_id))
            await services.tastes.refresh()
        await interaction.edit_original_response(content=done)


async def describe_member(services: Services, user_id: int) -> str:
    data = await services.database.read(summarize_member_data, user_id)
    return describe_member_data(data, services.settings.privacy, on_discord=services.fixed_basis is None)


async def opt_in(services: Services, user_id: int) -> str:
    """Store the member's consent, and return the answer."""
    is_new = await services.database.run(give_consent, user_id)
    await services.tastes.refresh()
    return describe_opt_in(services.settings.privacy, is_new=is_new, on_discord=services.fixed_basis is None)


async def send_first_notice(services: Services, message: discord.Message) -> bool:
    """Send the notice below the message, unless the member has it or is outside Discord; return whether it was sent."""
    member, privacy = message.author.id, services.settings.privacy
    if services.fixed_basis is not None or not await services.database.run(greet, member):
        return False
    can_allow = privacy.discord_training_permission
    actions = (PrivacyAction.SHOW, PrivacyAction.ALLOW) if can_allow else (PrivacyAction.SHOW,)
    try:
        await message.channel.send(first_notice(privacy), view=buttons(*actions), silent=True)
    except DISCORD_ERRORS as error:
        log.warning("Discord refused the privacy notice to %d (%s); their next message brings it.", member, error)
        await services.database.run(take_back_greeting, member)
        return False
    return True


def pack(export: dict[str, Any], limit_bytes: int) -> list[tuple[str, bytes]]:
    """Return (name, content) of each file; each part of several is a complete JSON document."""
    plain = _encode(export)
    if len(plain) <= limit_bytes:
        return [(f"{NAME}.json", plain)]
    parts = _split(export, limit_bytes)
    if len(parts) == 1:
        return [(f"{NAME}.json.gz", _compress(export))]
    return [
        (f"{NAME}-{number}-of-{len(parts)}.json.gz", _compress({**part, "part": number, "parts": len(parts)}))
        for number, part in enumerate(parts, start=1)
    ]


def _split(export: dict[str, Any], limit_bytes: int) -> list[dict[str, Any]]:
    """Halve the longest list until every part fits; a single row that is too long is sent as it is."""
    longest = max((key for key, rows in export.items() if isinstance(rows, list)), key=lambda key: len(export[key]))
    rows = export[longest]
    if len(_compress(export)) + len('"part": 1000, "parts": 1000') <= limit_bytes or len(rows) < 2:
        return [export]
    middle = len(rows) // 2
    others = {key: value[:0] if isinstance(value, list) else value for key, value in export.items()}
    halves = ({**export, longest: rows[:middle]}, {**others, longest: rows[middle:]})
    return [part for half in halves for part in _split(half, limit_bytes)]


def _encode(export: dict[str, Any]) -> bytes:
    return json.dumps(export, ensure_ascii=False, indent=1).encode()


def _compress(export: dict[str, Any]) -> bytes:
    return gzip.compress(_encode(export), mtime=0)
