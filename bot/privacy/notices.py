"""Texts for members about their data, and the buttons below them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from enum import StrEnum

import discord
from discord.utils import format_dt

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.interactions import PersistentButton, begin_interaction, button_row
from bot.localization.sentences import gettext, ngettext, translated
from bot.privacy.export import send_export
from bot.services import Services
from storage.database.enums import Basis
from storage.members import greet, take_back_greeting
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import Deletion, delete_member
from storage.privacy.member_data import MemberDataSummary, summarize_member_data
from storage.privacy.retention import NO_BASIS, PrivacyReport, days_kept, describe_retention
from storage.settings.sections import PrivacySettings
from storage.wording import count, gettext_noop

log = logging.getLogger(__name__)


CONFIRM = gettext_noop(
    "Delete everything I store about you, in every server? That includes answers based on your messages, your votes, "
    "suggested answers and notes, and documents and summaries made from your messages. I keep the date of the "
    "deletion, what you refused and, if you are an admin, the record of what you did as one. This can't be undone."
)
OUTSIDE_DISCORD = gettext_noop(
    "This is a demo on your own computer, not Discord, so everything said here may be used for training, even if you "
    "forbid learning: that only takes out your reactions. On Discord, only messages of members who allowed it may be."
)


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
    stored = (
        gettext("I store about you: {things}.", things=things)
        if things
        else gettext("I store none of your messages, votes or notes.")
    )
    if data.oldest:
        stored += " " + gettext("The oldest entry is from {date}.", date=format_dt(data.oldest, "D"))
    deleted = _describe_deletion_by_age(settings, on_discord=on_discord)
    training = _describe_training(settings) if on_discord else gettext(OUTSIDE_DISCORD)
    return f"{stored} {deleted}\n{_describe_choice(data)} {_describe_reactions(data, settings)} {training}"


def _describe_deletion_by_age(settings: PrivacySettings, *, on_discord: bool) -> str:
    answers = translated(describe_retention(settings, on_discord=on_discord))
    if not on_discord or not settings.retention_days:
        return f"{answers} {gettext('Your data is kept until you delete it.')}"
    rest = gettext(
        "Your data in a server is deleted {days} after you leave it.",
        days=translated(days_kept(settings.retention_days)),
    )
    return f"{answers} {rest}"


def _describe_choice(data: MemberDataSummary) -> str:
    if data.opted_out_since:
        return gettext("You **forbade** learning on {date}.", date=format_dt(data.opted_out_since, "D"))
    if not data.consents_since:
        return gettext("You have neither allowed nor forbidden learning.")
    return gettext("You **allowed** learning on {date}.", date=format_dt(data.consents_since, "D"))


def _describe_reactions(data: MemberDataSummary, settings: PrivacySettings) -> str:
    if not settings.learn_from_reactions or data.opted_out_since:
        return gettext("I don't learn from your reactions.")
    return gettext(
        "I learn from reactions which of my own answers members like. For that I look at my answers and at reactions, "
        "never at your messages. *Forbid learning* takes your reactions out of it."
    )


def _describe_training(settings: PrivacySettings) -> str:
    if settings.discord_training_permission:
        return gettext("An answer may be used for training if everyone whose messages are in its prompt allows it.")
    return gettext(
        "Messages on Discord are not used for training here: Discord forbids it without its permission, which the "
        "operator does not have."
    )


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
        gettext("Reactions teach me which answers members like.") if settings.learn_from_reactions else "",
    ]
    return f"-# {' '.join(filter(None, said))}"


BASES = {
    Basis.LOCAL: "Answers given outside Discord",
    Basis.PROMPT_BANK: "Answers to the prompt bank",
    Basis.LIVE_CHAT: "Answers to members who allow training",
    NO_BASIS: "Answers not used for training",
}
"""The answers with each training basis, as operators read it."""


def report_lines(report: PrivacyReport, settings: PrivacySettings) -> list[str]:
    permission = "yes" if report.discord_training_permission else "no, so messages on Discord are not used for training"
    lines = [f"Discord's permission to train on messages: {permission}.", describe_retention(settings)]
    if report.past_retention:
        lines.append(f"The next clean-up deletes {count(report.past_retention, 'answer')}.")
    for basis, ages in report.answers.items():
        counted = ", ".join(f"{number:,} {age}" for age, number in ages.items())
        lines.append(f"{BASES.get(basis, basis)}: {sum(ages.values()):,} ({counted}).")
    lines += [f"Rows in {table}: {number:,}." for table, number in report.rows.items() if number]
    lines += [
        f"Members who allow learning: {report.consents:,}; members who deleted their data: {report.erasures:,}.",
        f"Departed members and servers whose data is still stored: {report.departures:,}.",
        f"Versions trained on data that was deleted later: {', '.join(report.marked_versions) or 'none'}.",
    ]
    return lines


class PrivacyAction(StrEnum):
    SHOW = "show"
    ALLOW = "allow"
    FORBID = "forbid"
    EXPORT = "export"
    ASK = "ask"
    DELETE = "delete"
    KEEP = "keep"


LABELS = {
    PrivacyAction.SHOW: gettext_noop("What's stored"),
    PrivacyAction.ALLOW: gettext_noop("Allow learning"),
    PrivacyAction.FORBID: gettext_noop("Forbid learning"),
    PrivacyAction.EXPORT: gettext_noop("Get my data"),
    PrivacyAction.ASK: gettext_noop("Delete everything …"),
    PrivacyAction.DELETE: gettext_noop("Delete everything"),
    PrivacyAction.KEEP: gettext_noop("Keep my data"),
}


def buttons(*actions: PrivacyAction) -> discord.ui.View:
    return button_row(map(PrivacyButton, actions))


class PrivacyButton(PersistentButton, template=rf"reactune:privacy:(?P<chosen>{'|'.join(PrivacyAction)})"):
    """Acts for the member who presses it, so many members can use the same one."""

    def __init__(self, chosen: PrivacyAction) -> None:
        self.chosen = chosen
        is_danger = chosen in (PrivacyAction.ASK, PrivacyAction.DELETE)
        style = discord.ButtonStyle.danger if is_danger else discord.ButtonStyle.secondary
        super().__init__(f"reactune:privacy:{chosen.value}", gettext(LABELS[chosen]), style)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        begin_interaction(interaction)
        return True  # everyone may see and delete their own data

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        match self.chosen:
            case PrivacyAction.EXPORT:
                await send_export(interaction, services)
            case PrivacyAction.ASK:
                view = buttons(PrivacyAction.DELETE, PrivacyAction.KEEP)
                await interaction.response.edit_message(content=gettext(CONFIRM), view=view)
            case PrivacyAction.DELETE:
                await _delete(interaction, services)
            case _:
                is_page = interaction.message is not None and interaction.message.flags.ephemeral
                await interaction.response.defer(ephemeral=True, thinking=not is_page)  # the notice stays as it is
                await show_page(interaction, services, await _decide(self.chosen, services, interaction.user.id))


async def _decide(chosen: PrivacyAction, services: Services, user_id: int) -> str:
    """Store a decision about learning, and return a note about it."""
    if chosen is PrivacyAction.KEEP:
        return gettext("Nothing was deleted.")
    if chosen is PrivacyAction.SHOW:
        return ""
    is_allowed = chosen is PrivacyAction.ALLOW
    is_new = await services.database.run(give_consent if is_allowed else withdraw_consent, user_id)
    await services.tastes.refresh()
    if is_allowed:
        return gettext("Done: learning is allowed.") if is_new else gettext("Learning was allowed already.")
    return (
        gettext("Done: I no longer learn from you, nor from your earlier reactions.")
        if is_new
        else gettext("Learning was forbidden already.")
    )


async def _delete(interaction: discord.Interaction, services: Services) -> None:
    await interaction.response.edit_message(content=gettext("One moment …"), view=None)  # no button for a second click
    services.attachments.recent.forget_all()
    deleted = await services.database.run(delete_member, interaction.user.id)
    await services.tastes.refresh()
    await interaction.edit_original_response(content=describe_deletion(deleted))


async def show_page(interaction: discord.Interaction, services: Services, note: str = "") -> None:
    """Show what is stored about the member, with what they can do about it, in place of their deferred answer."""
    data = await services.database.read(summarize_member_data, interaction.user.id)
    privacy, on_discord = services.settings.privacy, services.fixed_basis is None
    text = describe_member_data(data, privacy, on_discord=on_discord)
    await interaction.edit_original_response(
        content=f"{note}\n\n{text}" if note else text, view=buttons(*_offered(data, privacy, on_discord=on_discord))
    )


def _offered(data: MemberDataSummary, settings: PrivacySettings, *, on_discord: bool) -> Iterator[PrivacyAction]:
    """Yield what the member can do now; a decision that would change nothing is left out."""
    may_train = on_discord and settings.discord_training_permission
    if data.opted_out_since or (may_train and not data.consents_since):
        yield PrivacyAction.ALLOW
    if not data.opted_out_since:
        yield PrivacyAction.FORBID
    yield from (PrivacyAction.EXPORT, PrivacyAction.ASK)


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
