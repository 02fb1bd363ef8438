"""The page of versions: what people chose, the gate, where each comes from; promote, roll back, canaries."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.drawings import lay_out_tree
from bot.console.page import Here, SentForm, find_here, read_form
from bot.text.contests import describe_canary, describe_contest
from bot.text.lineage import lineage_text
from bot.text.releases import describe_evidence, describe_version
from storage.database.columns import utc_now
from storage.insights.lineage import lineage_of
from storage.insights.model_status import VersionDetails, VersionList, read_version, read_versions
from storage.insights.version_tree import TreeNode, read_version_tree
from storage.releases import promotion
from storage.releases.canaries import stop_canary
from storage.releases.evidence import CanaryState, Contest, read_canary_state, read_contest
from storage.releases.versions import id_of
from storage.settings.sections import VoteSettings

LARGEST_NUMBER = 9
"""Digits of a version's number."""


@dataclass(frozen=True)
class VersionFacts:
    listed: VersionList
    tree: list[TreeNode]
    contest: Contest | None
    canary: CanaryState


async def show_versions(request: web.Request) -> web.Response:
    here = await find_here(request)
    settings = here.services.settings
    facts = await here.services.database.read(_read, here.personality.id, settings.votes)
    return here.fill(
        "versions.html",
        found=facts.listed,
        marks={id_of(node.version): node.marks for node in facts.tree},
        tree=lay_out_tree(facts.tree),
        contest=describe_contest(facts.contest) if facts.contest else "",
        canary=describe_canary(facts.canary, utc_now()).split("\n"),
        has_canary=facts.canary.running is not None,
        share=settings.release.canary_share,
        evidence_of=describe_evidence,
        base=here.services.base,
    )


def _read(session: Session, personality_id: int, votes: VoteSettings) -> VersionFacts:
    return VersionFacts(
        read_versions(session, personality_id),
        read_version_tree(session, personality_id),
        read_contest(session, personality_id, votes),
        read_canary_state(session, personality_id, votes),
    )


async def show_version(request: web.Request) -> web.Response:
    here = await find_here(request)
    name = request.match_info["version"]
    details, lineage = await here.services.database.read(_read_one, here.personality.id, name)
    return here.fill(
        "version.html", version=details.version, lines=describe_version(details).split("\n"), lineage=lineage
    )


def _read_one(session: Session, personality_id: int, name: str) -> tuple[VersionDetails, str]:
    details = read_version(session, personality_id, name)
    assert details is not None, "the route names no base"
    return details, lineage_text(lineage_of(session, personality_id, name))


async def promote_chosen(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    here.require_own()
    ask = _read_request(here, form, seen=form.number("seen"))
    await here.act(here.action("promote", ask.version, ask.reason), promotion.promote_version, ask)
    return here.go(here.address("/versions"))


async def roll_back_one(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    here.require_own()
    reason, seen = form.text("reason", ""), form.number("seen")
    action = here.action("roll back", "", reason)
    await here.act(action, promotion.roll_back_champion, here.personality.id, reason, seen)
    return here.go(here.address("/versions"))


async def begin_canary(request: web.Request) -> web.Response:
    """Let people compare a version with the champion more often, until their choices decide."""
    here, form = await find_here(request), await read_form(request)
    here.require_own()
    ask, share = _read_request(here, form), form.number("percent") / 100
    action = here.action("start canary", f"{ask.version}, {share:.0%} of answers", ask.reason)
    await here.act(action, promotion.try_version, ask, here.services.settings.release, share)
    return here.go(here.address("/versions"))


async def end_running_canary(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    here.require_own()
    reason = form.text("reason", "")
    action = here.action("stop canary", "", reason)
    await here.run_audited(action, stop_canary, here.personality.id, by=here.visitor.name, reason=reason)
    return here.go(here.address("/versions"))


def _read_request(here: Here, form: SentForm, seen: int | None = None) -> promotion.ReleaseRequest:
    return promotion.ReleaseRequest(
        here.personality.id,
        form.text("version"),
        form.text("reason", ""),
        form.is_checked("override"),
        here.services.releases.open,
        seen,
    )


ROUTES = [
    web.get("/versions", show_versions),
    web.get(rf"/versions/{{version:v\d{{1,{LARGEST_NUMBER}}}}}", show_version),
    web.post("/versions/promote", promote_chosen),
    web.post("/versions/rollback", roll_back_one),
    web.post("/versions/canary", begin_canary),
    web.post("/versions/canary/stop", end_running_canary),
]
