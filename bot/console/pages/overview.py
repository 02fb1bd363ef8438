"""The first page: who answers, what it has learned, and what to do next; the rest is folded away until it is opened.

Its parts are loaded one by one: on a large server, some of them take a second.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from aiohttp import web
from sqlalchemy.orm import Session

from bot.charts.report import describe_report, draw_report
from bot.console.page import Here, get, post
from bot.console.places import visible_servers
from bot.localization.sentences import sentence
from bot.operations.alerts import shared_alerts
from bot.operations.health import examine_health
from bot.releases.version_pages import read_status_blocks
from bot.text.contests import describe_contest
from bot.text.releases import describe_verdict
from bot.text.rounds import HEADLINES, describe_first_version, describe_progress
from bot.text.sanitize import escape_inline
from bot.text.status import describe_marked_champion
from bot.text.taste import describe_e_value, describe_finding, describe_now, describe_unknown, describe_use
from storage.database.columns import utc_now
from storage.database.enums import GateVerdict, RoundStatus
from storage.insights.answers import in_channels
from storage.insights.model_status import newest_after, read_facts
from storage.insights.report import read_report
from storage.insights.taste_report import read_taste_report
from storage.knowledge.gaps import count_gaps
from storage.operations.alerts import AlertKind
from storage.personalities.personalities import Personality
from storage.releases.before_after import compare_with_before
from storage.releases.contests import read_contest
from storage.releases.pair_share import FIRST_CHOICES, first_choices_left
from storage.releases.versions import read_alias
from storage.runtime.shell import SLASH_COMMANDS
from storage.settings.sections import Settings
from storage.taste.acting import switch_taste
from storage.training.rounds import latest_round, offered_examples
from storage.wording import count

CHECKS = {
    "gateway": "Discord",
    "engine": "Model",
    "database": "Database",
    "trainer": "Trainer",
    "disk": "Disk of the data folder",
}
PAGE_OF_ALERT = {
    "round": ("/rounds", "See the round"),
    "votes": ("/trust", "Decide on them"),
}
"""The page about an alert, by the first part of its key."""


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


class SwitchPage(StrEnum):
    """Pages that have the switch of the taste."""

    OVERVIEW = "/"
    VERSIONS = "/versions"


async def show_overview(here: Here) -> web.Response:
    release = await here.services.releases.current(here.personality.id)
    problem = here.services.releases.problem_of(here.personality.id)
    return here.fill(
        "overview.html",
        **await here.services.database.read(_read_first_view, here.personality.id, here.services.settings),
        answering=release.name,
        problem=sentence(problem) if problem else "",
    )


def _read_first_view(session: Session, personality_id: int, settings: Settings) -> dict[str, object]:
    """Return which version answers, what members like, and one message answered before and now, if both are known."""
    taste = read_taste_report(session, personality_id, settings)
    champion = taste.now.champion
    compared = compare_with_before(session, champion) if champion else None
    return {
        "champion": champion.name if champion else "",
        "since": taste.now.since,
        "finding": describe_finding(taste),
        "before": compared.before if compared else "",
        "shown": compared.answers[0] if compared else None,
    }


async def show_waiting(here: Here) -> web.Response:
    """Return the decisions that wait for the visitor, for all personalities that they may decide about."""
    decides_on = [one for one in here.personalities if here.about(one).may_administer]
    waiting = await here.services.database.read(read_waiting, here, decides_on)
    addresses = [
        here.about(one.personality or here.personality).address(one.page, server=one.server_id) for one in waiting
    ]
    return here.fill("waiting.html", waiting=list(zip(waiting, addresses, strict=True)))


async def show_health(here: Here) -> web.Response:
    """Return the report of `/health`, which only the operator can act on."""
    if here.visitor.servers is not None:
        raise web.HTTPNotFound
    return here.fill("health.html", checks=(await examine_health(here.services)).checks, names=CHECKS)


async def show_status(here: Here) -> web.Response:
    """Return the text of `/version status`."""
    said = await read_status_blocks(here.services, here.personality.id)
    return here.fill("status.html", lines="\n".join(said).split("\n"), note=SLASH_COMMANDS)


async def show_likings(here: Here) -> web.Response:
    """Return the text of `/taste`."""
    channels = here.visitor.channels
    seen = [] if channels is None else [in_channels(channels)]
    taste = await here.services.database.read(read_taste_report, here.personality.id, here.services.settings, *seen)
    return here.fill(
        "taste.html",
        taste=taste,
        finding=describe_finding(taste),
        use=describe_use(taste),
        certainty=describe_e_value(taste.e_value),
        now=describe_now(taste.now),
        unknown=describe_unknown(taste),
    )


async def switch_taste_of(here: Here) -> web.Response:
    """Switch the personality's taste on or off, as `/taste switch` does."""
    to, page = here.form.choice("switch", Switch), here.form.choice("page", SwitchPage)
    action = here.action("taste switch", f"{to}, of {here.personality.name}")
    await here.require_administrator(action)
    await here.run_audited(action, switch_taste, here.personality.id, on=to is Switch.ON)
    return here.go(here.address(page))


async def show_report(here: Here) -> web.Response:
    """Return the picture of the report, with its words for those who cannot see it."""
    report = await here.services.database.read(read_report, here.personality.id, utc_now(), here.services.settings)
    picture = await asyncio.to_thread(draw_report, report, here.personality.name)
    words = describe_report(report).replace("**", "")
    return here.fill("report.html", picture=b64encode(picture).decode(), words=words)


@dataclass(frozen=True)
class WaitingItem:
    personality: Personality | None
    words: str
    page: str
    link: str
    """The words of the link to the page, or of the button."""
    sent: Mapping[str, str] | None = None
    """The fields that a button sends to the page; None for a link."""
    server_id: int | None = None


def read_waiting(session: Session, here: Here, personalities: Iterable[Personality]) -> list[WaitingItem]:
    """Return the decisions that wait about these personalities, and the next round of the page's one."""
    found: list[WaitingItem] = []
    by_id = {one.id: one for one in personalities}
    for facts in read_facts(session):
        if personality := by_id.get(facts.personality_id):
            found += _about_versions(session, here, personality)
            found += (_about_alert(personality, alert) for alert in shared_alerts([facts]))
    if here.personality.id in by_id:
        found += _about_training(session, here.personality)
    seen = here.visitor.channels
    channels = None if seen is None else list(chain.from_iterable(seen.values()))
    gaps, servers = count_gaps(session, channels), visible_servers(here)
    for server in servers:
        if server.id in gaps:
            where = f" in {escape_inline(server.name)}" if len(servers) > 1 else ""
            words = f"Members reported wrong facts in {count(gaps[server.id], 'answer')}{where}: a document would help."
            found.append(WaitingItem(None, words, "/knowledge", "See the gaps", server_id=server.id))
    return found


def _about_versions(session: Session, here: Here, personality: Personality) -> Iterator[WaitingItem]:
    whose = "" if personality.is_default else f"{personality.name}: "
    champion = read_alias(session, personality.id).version
    newest = newest_after(session, personality.id, champion)
    if contest := read_contest(session, personality.id, here.services.settings.votes):
        words = whose + describe_contest(contest, here.visitor.user_id)
        yield WaitingItem(personality, words, "/label", f"Compare {contest.rival.name} now", {})
    elif newest and newest.verdict is GateVerdict.PASS:
        words = sentence(f"{newest.name}: {describe_verdict(newest)}")
        yield WaitingItem(personality, whose + words, "/versions", "Promote it")
    if said := describe_marked_champion(champion):
        yield WaitingItem(personality, whose + said, "/rounds", "Train without it")


def _about_training(session: Session, personality: Personality) -> Iterator[WaitingItem]:
    round_, left = latest_round(session, personality.id), first_choices_left(session, personality.id)
    if round_ and round_.is_open:
        doing = describe_progress(round_.progress) if round_.status is RoundStatus.RUNNING else ""
        yield WaitingItem(personality, f"**{HEADLINES[round_.status]}.** {doing}", "/rounds", "See how far it is")
    elif left == 0:
        words = f"**Train:** {FIRST_CHOICES} choices are enough for a first round. It takes some minutes."
        yield WaitingItem(personality, words, "/rounds", "Train now", {})
    elif left and left < FIRST_CHOICES:
        words = f"**Choose:** {count(left, 'more choice')} {'makes' if left == 1 else 'make'} a good first round."
        yield WaitingItem(personality, words, "/label", "Choose the better answers")
    if examples := offered_examples(session, personality):
        words = describe_first_version(personality.name, examples)
        yield WaitingItem(personality, words, "/rounds", "Make a first version", {"from_examples": "on"})


def _about_alert(personality: Personality, alert: AlertKind) -> WaitingItem:
    page, link = PAGE_OF_ALERT[alert.key.partition(":")[0]]
    return WaitingItem(personality, sentence(alert.message), page, link)


ROUTES = [
    get("/", show_overview),
    get("/overview/waiting", show_waiting),
    get("/overview/status", show_status),
    get("/overview/taste", show_likings),
    get("/overview/report", show_report),
    get("/overview/health", show_health),
    post("/taste/switch", switch_taste_of),
]
