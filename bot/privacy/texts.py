"""What members and operators read about stored data."""

from __future__ import annotations

from storage.privacy.erasure import Deletion
from storage.privacy.member_data import MemberDataSummary
from storage.privacy.report import PrivacyReport
from storage.settings.sections import PrivacySettings
from storage.wording import count

NOTHING = "I store nothing about you."
HOW_TO = (
    "Use `/privacy export` to get all of it, `/privacy delete` to delete it, and `/privacy opt-in` or `opt-out` to "
    "decide whether it may be used for training."
)
OUTSIDE_DISCORD = (
    "This is a demo on your own computer, not Discord, so everything said here may be used for training. On Discord, "
    "only messages of members who opted in may be."
)


def describe_member_data(data: MemberDataSummary, settings: PrivacySettings, *, on_discord: bool) -> str:
    """Return what is stored about a member, since when and for how long, and what may be trained on."""
    kept = [
        *_count_answers(data.answers, data.votes),
        *_counts(
            (data.causes, "reason for a 👎", "reasons for a 👎"),
            (data.suggestions, "suggested answer", ""),
            (data.notes, "note", ""),
            (data.summaries, "conversation summary", "conversation summaries"),
            (data.documents, "document with your messages", "documents with your messages"),
            (data.memberships, "server join date", ""),
        ),
    ]
    stored = f"I store about you: {', '.join(kept)}." if kept else NOTHING
    oldest = f" The oldest entry is from <t:{int(data.oldest.timestamp())}:D>." if data.oldest else ""
    if not on_discord:
        return f"{stored}{oldest} Nothing is deleted automatically here.\n{HOW_TO}\n{OUTSIDE_DISCORD}"
    return f"{stored}{oldest} {describe_retention(settings)}\n{HOW_TO}\n{describe_training(data, settings)}"


def describe_retention(settings: PrivacySettings) -> str:
    if not settings.retention_days:
        return "It is kept until you delete it."
    days = count(settings.retention_days, "day")
    return (
        f"Answers that no version was trained on are deleted after {days}, and the rest of your data {days} after you "
        "leave the server."
    )


def describe_training(data: MemberDataSummary, settings: PrivacySettings) -> str:
    """Return the member's choice and what it means here."""
    if data.consents_since:
        choice = f"You **opted in** on <t:{int(data.consents_since.timestamp())}:D>."
    else:
        choice = "You have **not** opted in."
    if settings.discord_training_permission:
        return f"{choice} An answer may be used for training if everyone whose messages are in its prompt opted in."
    return (
        f"{choice} Messages on Discord are not used for training here: Discord forbids it without its permission, "
        "which the operator does not have."
    )


def describe_opt_in(settings: PrivacySettings, *, is_new: bool, on_discord: bool) -> str:
    if not is_new:
        return "You had already opted in, so nothing changed." + _unless(on_discord)
    if not on_discord:
        return f"You're opted in, but that changes nothing here. {OUTSIDE_DISCORD}"
    if settings.discord_training_permission:
        return (
            "You're opted in: from now on, answers to your messages may be used for training. To take that back, use "
            "`/privacy opt-out`."
        )
    return (
        "You're opted in. Nothing changes yet: messages on Discord are not used for training here. If the operator "
        "gets Discord's permission, yours may be."
    )


def describe_opt_out(*, had_opted_in: bool, on_discord: bool) -> str:
    if not had_opted_in:
        return "You hadn't opted in, so nothing changed." + _unless(on_discord)
    if not on_discord:
        return f"You're opted out, but that changes nothing here. {OUTSIDE_DISCORD}"
    return "You're opted out. Future training won't use answers to your messages, not even earlier ones."


def _unless(on_discord: bool) -> str:
    return "" if on_discord else f" {OUTSIDE_DISCORD}"


def describe_deletion(deleted: Deletion) -> str:
    """Return what was deleted, which versions were trained on it, and what happens to those."""
    gone = [
        *_count_answers(deleted.replies, deleted.votes),
        *_counts(
            (deleted.corrections, "suggested answer", ""),
            (deleted.notes, "note", ""),
            (deleted.summaries, "conversation summary", "conversation summaries"),
            (deleted.documents, "document with your messages", "documents with your messages"),
        ),
    ]
    if not gone:
        return "Done. There were no messages, votes or notes of yours."
    said = f"Deleted: {', '.join(gone)}."
    if not deleted.marked:
        return f"{said} No version was trained on them."
    return (
        f"{said} Trained on them: {', '.join(deleted.marked)}. Admins can see that, and the next round trains without "
        "your data."
    )


def _count_answers(answers: int, voted_on: int) -> list[str]:
    based = _counts((answers, "answer based on your messages", "answers based on your messages"))
    return [*based, *([f"your votes on {count(voted_on, 'answer')}"] if voted_on else [])]


def _counts(*numbers: tuple[int, str, str]) -> list[str]:
    """Return each (number, noun, plural) as words, without zeros."""
    return [count(number, noun, nouns) for number, noun, nouns in numbers if number]


def first_notice(settings: PrivacySettings) -> str:
    """Return the short notice below the first answer to a member."""
    how_long = f" for {count(settings.retention_days, 'day')}" if settings.retention_days else ""
    training = (
        "I learn from them only if you allow it; what a version learned from is kept longer."
        if settings.discord_training_permission
        else "They are not used for training."
    )
    return f"-# Hello! I store your messages to me, my answers and your 👍 👎{how_long}. {training}"


def report_lines(report: PrivacyReport) -> list[str]:
    """Return the operator's report, one fact per line."""
    permission = "yes" if report.discord_training_permission else "no, so live chat is not trained on"
    lines = [f"Discord's permission to train on messages: {permission}."]
    if report.retention_days:
        days, past = count(report.retention_days, "day"), count(report.past_retention, "answer")
        lines.append(f"Answers that no version was trained on are deleted after {days}; {past} to delete now.")
    else:
        lines.append("Nothing is deleted by age.")
    for basis, ages in report.answers.items():
        counted = ", ".join(f"{number:,} {age}" for age, number in ages.items())
        lines.append(f"Answers with training basis {basis}: {sum(ages.values()):,} ({counted}).")
    lines += [f"Rows in {table}: {number:,}." for table, number in report.rows.items() if number]
    lines += [
        f"Members who opted in: {report.consents:,}; members who deleted their data: {report.erasures:,}.",
        f"Departed members and servers whose data is still stored: {report.departures:,}.",
        f"Versions trained on data that was deleted later: {', '.join(report.marked_versions) or 'none'}.",
    ]
    return lines
