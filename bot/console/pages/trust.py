"""The page of trust and privacy: votes in quarantine, stored data, data for training, and the audit trail."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.page import Here, get, post, without_nul
from bot.console.places import with_names
from bot.errors import UserFacingError
from bot.privacy.notices import BASES
from storage.database.columns import LARGEST_ID, utc_now
from storage.database.enums import QuarantineStatus
from storage.operations.audit import AuditEntry, AuditQuery, read_trail
from storage.privacy.consent import describe_bases
from storage.privacy.retention import describe_retention, report_privacy
from storage.votes.decisions import Quarantine, Voter, decide_quarantines, open_quarantines, recent_decisions, voters_in
from storage.votes.quarantines import quarantine_bursts

ENTRIES = 50
NO_REASON = "Say why, in a few words: the reason is stored."


async def show_trust(here: Here) -> web.Response:
    wanted = AuditQuery(
        ENTRIES + 1,
        action=without_nul(here.request.query.get("action", "")),
        actor_id=here.number("member", LARGEST_ID),
        guild_ids=here.visitor.servers,
        before_id=here.number("before"),
    )
    decides_on = [here.personality.id] if here.may_administer else []
    waiting, decided, trail = await here.services.database.read(_read, decides_on, wanted)
    shown = trail[:ENTRIES]
    older = shown[-1].id if len(trail) > ENTRIES else None
    return here.fill(
        "trust.html",
        waiting=waiting,
        decided=decided,
        trail=shown,
        older=older,
        wanted=wanted,
        is_trail_alone=bool(wanted.action) or wanted.actor_id is not None or wanted.before_id is not None,
        name_of=_name_of,
        readable=partial(with_names, here),
    )


def _name_of(entry: AuditEntry) -> str:
    """Return the name of who did it, without their ID."""
    return entry.actor.removesuffix(f" ({entry.actor_id})")


async def show_stored(here: Here) -> web.Response:
    """Return the stored data, and the data that may be trained on."""
    if here.visitor.servers is not None:
        raise web.HTTPNotFound
    privacy = here.services.settings.privacy
    report = await here.services.database.read(report_privacy, privacy, utc_now())
    bases = "Everything said here may be used for training." if here.services.fixed_basis else describe_bases(privacy)
    retention = describe_retention(privacy, on_discord=here.services.fixed_basis is None)
    return here.fill("stored.html", report=report, bases=bases, names=BASES, retention=retention)


async def search_bursts(here: Here) -> web.Response:
    """Look for bursts of votes now; rounds and the bot look from time to time."""
    services = here.services
    action = here.action("search suspicious votes")
    await here.require_administrator(action)
    async with here.recorded(action):  # what it finds no longer counts
        await asyncio.to_thread(quarantine_bursts, services.database, here.personality.id, services.settings.votes)
    raise web.HTTPSeeOther(here.address("/trust"))


def _read(
    session: Session, personality_ids: list[int], wanted: AuditQuery
) -> tuple[list[tuple[Quarantine, list[Voter]]], list[Quarantine], list[AuditEntry]]:
    """Return the waiting votes, each with the voters that the visitor may know of, past decisions, and the trail."""
    held_ones = open_quarantines(session, personality_ids)
    waiting = [(held, voters_in(session, held, wanted.guild_ids)) for held in held_ones]
    return waiting, recent_decisions(session, personality_ids), read_trail(session, wanted)


async def decide_votes(here: Here) -> web.Response:
    """Count the votes of a burst, or leave them out."""
    form = here.form
    status, reason = form.choice("status", QuarantineStatus), form.text("reason")
    if status is QuarantineStatus.OPEN or not reason:
        raise UserFacingError(NO_REASON)
    quarantine_id = here.number_in_path("quarantine")
    action = here.action("decide votes", f"suspicious votes {quarantine_id}: {status}", reason)
    await here.require_administrator(action)
    await here.run_audited(
        action,
        decide_quarantines,
        [quarantine_id],
        status,
        votes=form.number("votes"),
        personality_ids=[here.personality.id],
        by=here.visitor.name,
        reason=reason,
    )
    await here.services.tastes.refresh(here.personality.id)
    raise web.HTTPSeeOther(here.address("/trust"))


ROUTES = [
    get("/trust", show_trust),
    get("/trust/stored", show_stored),
    post("/trust/search", search_bursts),
    post(r"/trust/{quarantine:\d+}", decide_votes),
]
