"""What waits for a decision, in words, each with the page where it is decided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from bot.localization.sentences import sentence
from bot.operations.alerts import shared_alerts
from bot.text.contests import describe_contest
from bot.text.releases import describe_evidence
from bot.text.rounds import describe_first_version
from bot.text.status import describe_marked_champion
from storage.database.enums import GateVerdict
from storage.insights.alert_facts import read_facts
from storage.insights.model_status import newest_after
from storage.knowledge.gaps import count_gaps
from storage.operations.alerts import AlertKind
from storage.personalities.personalities import Personality
from storage.releases.evidence import read_contest
from storage.releases.versions import read_alias
from storage.settings.sections import Settings, VoteSettings
from storage.training.first_version import offered_examples
from storage.wording import count

PAGE_OF_ALERT = {
    "round": ("/rounds", "See the round"),
    "votes": ("/trust", "Decide on them"),
}
"""The page about an alert, by the first part of its key."""


@dataclass(frozen=True)
class WaitingItem:
    personality: Personality | None
    """None if it is not about one."""
    words: str
    page: str
    link: str
    """The words of the link to the page, or of the button."""
    asks_for_first_version: bool = False
    """It is a button that asks for a round on the card's examples."""


def read_waiting(
    session: Session,
    personalities: Iterable[Personality],
    channels: Collection[int] | None,
    settings: Settings,
    new: Personality | None,
) -> list[WaitingItem]:
    """Return what waits, for these personalities and channels; None means all channels.

    `new` is offered a first version, if it can make one.
    """
    found: list[WaitingItem] = []
    by_id = {personality.id: personality for personality in personalities}
    for facts in read_facts(session):
        if personality := by_id.get(facts.personality_id):
            found += _about_versions(session, personality, settings.votes)
            found += (_about_alert(personality, alert) for alert in shared_alerts([facts]))
    if new and (examples := offered_examples(session, new, settings.demonstration)):
        words = describe_first_version(new.name, examples)
        found.append(WaitingItem(new, words, "/rounds", "Make a first version", asks_for_first_version=True))
    if gaps := count_gaps(session, channels):
        words = f"Members reported wrong facts in {count(gaps, 'answer')}: a document would help."
        found.append(WaitingItem(None, words, "/knowledge", "See the gaps"))
    return found


def _about_versions(session: Session, personality: Personality, votes: VoteSettings) -> Iterator[WaitingItem]:
    whose = "" if personality.is_default else f"{personality.name}: "
    champion = read_alias(session, personality.id).version
    newest = newest_after(session, personality.id, champion)
    if contest := read_contest(session, personality.id, votes):
        yield WaitingItem(personality, whose + describe_contest(contest), "/label", "Compare them blind")
    elif newest and newest.verdict is GateVerdict.PASS and newest.withdrawn_at is None:
        words = sentence(f"{newest.name}: {describe_evidence(newest)}")
        yield WaitingItem(personality, whose + words, "/versions", "Promote it")
    if said := describe_marked_champion(champion):
        yield WaitingItem(personality, whose + said, "/rounds", "Train without it")


def _about_alert(personality: Personality, alert: AlertKind) -> WaitingItem:
    page, link = PAGE_OF_ALERT[alert.key.partition(":")[0]]
    return WaitingItem(personality, sentence(alert.message), page, link)
