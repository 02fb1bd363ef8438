"""What members and operators read about what is kept."""

from __future__ import annotations

from storage.privacy.consent import Deletion, describe_bases
from storage.privacy.member_data import MemberDataSummary
from storage.privacy.report import PrivacyReport
from storage.settings.sections import PrivacySettings
from storage.wording import count, tenths

NOTHING = "I keep nothing of you."
HOW_TO = (
    "`/privacy export` gives you all of it, `/privacy delete` removes it, `/privacy opt-in` and `opt-out` say whether "
    "your words may be trained on."
)


def describe_holdings(holdings: MemberDataSummary, settings: PrivacySettings) -> str:
    """Return what is kept of a member in numbers, since when, and how long."""
    named = {
        "answer with your words": holdings.answers,
        "answer that you voted on": holdings.votes,
        "cause of a 👎": holdings.causes,
        "suggestion": holdings.suggestions,
        "note about you": holdings.notes,
        "document made of your messages": holdings.documents,
        "summary of a conversation": holdings.summaries,
        "date of joining a server": holdings.memberships,
    }
    found = [count(number, noun, _plural(noun)) for noun, number in named.items() if number]
    if not found:
        return f"{NOTHING} {describe_retention(settings)}\n{HOW_TO}"
    since = f" The oldest is from <t:{int(holdings.oldest.timestamp())}:D>." if holdings.oldest else ""
    return f"I keep of you: {', '.join(found)}.{since} {describe_retention(settings)}\n{HOW_TO}"


def _plural(noun: str) -> str:
    first, space, rest = noun.partition(" ")
    many = first.removesuffix("y") + "ies" if first.endswith("y") else f"{first}s"
    return f"{many}{space}{rest}"


def describe_retention(settings: PrivacySettings) -> str:
    """Say in a sentence how long answers are kept."""
    if not settings.retention_days:
        return "Answers are kept until you delete them."
    days = f"{tenths(settings.retention_days)} days"
    return f"Answers that no version was trained on go after {days}, and what is left of you {days} after you leave."


def describe_training(holdings: MemberDataSummary, settings: PrivacySettings) -> str:
    """Say what may be trained on, and why."""
    since = holdings.consents_since
    choice = (
        f"You **allow** training on your messages since <t:{int(since.timestamp())}:D>: answers count where everybody "
        "quoted allows it."
        if since
        else "You do **not** allow training on your messages, so no answer to them is trained on."
    )
    return f"{describe_bases(settings)}\n{choice}"


def describe_deletion(gone: Deletion) -> str:
    """Say what was deleted, which versions had learned from it, and what becomes of those."""
    deleted = (
        f"Deleted: {count(gone.replies, 'answer')} with your words, {count(gone.votes, 'vote event')}, "
        f"{count(gone.corrections, 'suggestion')}, {count(gone.notes, 'note')} about you, "
        f"{count(gone.summaries, 'summary', 'summaries')} of conversations, "
        f"{count(gone.documents, 'document')} made of your messages."
    )
    if not gone.marked:
        return f"{deleted} No version was trained on them."
    return (
        f"{deleted} Trained on them: {', '.join(gone.marked)}. They are marked, admins see it, and the next round "
        "rebuilds without them."
    )


def first_notice(settings: PrivacySettings) -> str:
    """Return the one short notice for a member who talks to the bot for the first time."""
    kept = "I keep what you ask me, my answers and your 👍 👎"
    how_long = f" for {tenths(settings.retention_days)} days" if settings.retention_days else ""
    trained = (
        "I learn from your words only if you allow it, and keep what I learned from."
        if settings.discord_training_permission
        else "Your words are not trained on."
    )
    return f"-# Hello! {kept}{how_long}. {trained}"


def report_lines(report: PrivacyReport) -> list[str]:
    """Return the operator's report, a line for each thing."""
    permission = "attested" if report.discord_training_permission else "not attested, so live chat is not trained on"
    kept = f"{tenths(report.retention_days)} days" if report.retention_days else "for ever"
    lines = [
        f"Discord's permission to train on messages: {permission}.",
        f"Answers that no version was trained on are kept {kept}; {report.past_retention:,} are past that.",
    ]
    for basis, ages in report.answers.items():
        counted = ", ".join(f"{number:,} {age}" for age, number in ages.items())
        lines.append(f"Answers, basis {basis}: {sum(ages.values()):,} ({counted}).")
    lines += [f"Rows in {table}: {number:,}." for table, number in report.rows.items() if number]
    lines += [
        f"Members who allow training: {report.consents:,}; who deleted their data: {report.erasures:,}.",
        f"Members and servers that left and whose data is still kept: {report.departures:,}.",
        f"Versions trained on data that was deleted since: {', '.join(report.marked_versions) or 'none'}.",
    ]
    return lines
