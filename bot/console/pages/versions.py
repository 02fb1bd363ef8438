"""The page of versions: people's choices, the gate, the origin of each; promote, roll back, compare."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.page import Here, get, post
from bot.console.rendering import lay_out_tree
from bot.errors import UserFacingError
from bot.localization.sentences import sentence
from bot.releases.comparison import Comparison, Contestant, choose_prompts, compare_versions, contestant_of, open_two
from bot.text.contests import choices_left, describe_choices_left, describe_contest
from bot.text.lineage import as_plain_text, lineage_lines
from bot.text.releases import describe_left_out, describe_measurements, describe_story, describe_verdict
from bot.text.taste import describe_now
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS, read_bank
from storage.insights.lineage import lineage_of
from storage.insights.model_status import (
    TreeNode,
    VersionDetails,
    VersionList,
    newest_after,
    read_version,
    read_version_tree,
    read_versions,
)
from storage.personalities.cards import tuned
from storage.releases.contests import read_contest
from storage.releases.promotion import ReleaseRequest, promote_version, roll_back_champion
from storage.releases.versions import Alias, Version, name_of, read_alias, usable_versions
from storage.settings.sections import GenerationSettings, Settings
from storage.votes.votes import VersionVotes
from storage.wording import BASE_NAME

LARGEST_NUMBER = 9
"""Digits of a version's number."""
MOST_PROMPTS = 8


@dataclass(frozen=True)
class ShownContest:
    version: str
    champion: str
    so_far: str
    left: str
    """About how many choices are missing; empty if `so_far` says it."""
    counted: int
    needed: int | None
    """Number of choices that will probably decide; None while neither side leads."""


def show_contest(session: Session, here: Here) -> ShownContest | None:
    """Return the present comparison; None if there is none."""
    contest = read_contest(session, here.personality.id, here.services.settings.votes)
    if contest is None:
        return None
    standing, left = contest.forecast, choices_left(contest)
    counted = standing.wins + standing.losses
    return ShownContest(
        version=contest.rival.name,
        champion=name_of(contest.champion),
        so_far=describe_contest(contest, here.visitor.user_id),
        left=describe_choices_left(contest) if contest.admins or left is None else "",
        counted=counted,
        needed=counted + left if left else None,
    )


def show_decision(session: Session, here: Here) -> str:
    """Return what people decided about the newest version; empty if they did not, or if it answers already."""
    champion = read_alias(session, here.personality.id).version
    newest = newest_after(session, here.personality.id, champion)
    return sentence(f"{newest.name}: {describe_verdict(newest)}") if newest and "reason" in newest.contest else ""


async def show_versions(here: Here) -> web.Response:
    """Show everything but the votes on each version, which take a moment to count."""
    tree, usable, alias, contest, decision = await here.services.database.read(_read, here)
    available = [version.name for version in usable]
    champion = alias.target
    others = [name for name in available if name != champion]
    newest = available[0] if available else BASE_NAME
    return here.fill(
        "versions.html",
        **_table(here, _newest_first(tree)),
        said=(),
        has_versions=any(node.version for node in tree),
        seen=alias.generation,
        promotable=others if champion == BASE_NAME else [*others, BASE_NAME],
        comparable=[*available, BASE_NAME],
        compared=(champion, BASE_NAME if newest == champion else newest),
        tree=lay_out_tree(tree),
        contest=contest,
        decision=decision,
    )


def _read(session: Session, here: Here) -> tuple[list[TreeNode], list[Version], Alias, ShownContest | None, str]:
    return (
        read_version_tree(session, here.personality.id),
        usable_versions(session, here.personality.id),
        read_alias(session, here.personality.id),
        show_contest(session, here),
        show_decision(session, here),
    )


async def show_version_list(here: Here) -> web.Response:
    """Return the versions with their votes, and the taste's effects besides them."""
    tree, found = await here.services.database.read(_read_with_votes, here.personality.id, here.services.settings)
    said = (describe_left_out(found.votes.given, found.votes.left_out), describe_now(found.now))
    table = _table(here, _newest_first(tree), found.votes)
    return here.fill("version_list.html", **table, said=[*filter(None, said)])


def _read_with_votes(session: Session, personality_id: int, settings: Settings) -> tuple[list[TreeNode], VersionList]:
    return read_version_tree(session, personality_id), read_versions(session, personality_id, settings)


def _newest_first(tree: list[TreeNode]) -> list[TreeNode]:
    return sorted(tree, key=lambda node: node.version.number if node.version else 0, reverse=True)


def _table(here: Here, listed: list[TreeNode], votes: VersionVotes | None = None) -> dict[str, object]:
    """Return the table's contents; the votes are None until they are counted."""
    return {"listed": listed, "votes": votes, "verdict_of": describe_verdict, "base": here.services.base}


async def show_version(here: Here) -> web.Response:
    name = here.request.match_info["version"]
    details, lineage = await here.services.database.read(_read_one, here.personality.id, name, here.services.settings)
    return here.fill(
        "version.html",
        version=details.version,
        story=describe_story(details),
        measurements=describe_measurements(details),
        compared=details.compared,
        lineage=lineage if here.may_administer else "",  # it names voters, of all servers
    )


def _read_one(session: Session, personality_id: int, name: str, settings: Settings) -> tuple[VersionDetails, str]:
    details = read_version(session, personality_id, name, settings)
    assert details is not None, "the route names no base"
    return details, as_plain_text(lineage_lines(lineage_of(session, personality_id, name)))


async def promote_chosen(here: Here) -> web.Response:
    ask = _read_request(here)
    action = here.action("promote", ask.version, ask.reason)
    await here.require_administrator(action)
    await here.act(action, promote_version, ask)
    return here.go(here.address("/versions"))


async def roll_back_one(here: Here) -> web.Response:
    reason, seen = here.form.text("reason", ""), here.form.number("seen")
    action = here.action("roll back", "", reason)
    await here.require_administrator(action)
    await here.act(action, roll_back_champion, here.personality.id, reason, seen)
    return here.go(here.address("/versions"))


def _read_request(here: Here) -> ReleaseRequest:
    form = here.form
    return ReleaseRequest(
        here.personality.id,
        form.text("version"),
        form.text("reason", ""),
        form.has("override"),
        here.services.releases.open,
        form.number("seen"),
    )


@dataclass(frozen=True)
class ShownPair:
    """A prompt with the name and the answer of each contestant."""

    prompt: str
    answers: list[tuple[str, str]]


async def compare_side_by_side(here: Here) -> web.Response:
    """Ask two versions the same prompts; nothing is stored."""
    form = here.form
    services, own = here.services, here.personality
    releases = await open_two(services, own.id, form.text("a"), form.text("b"))
    contestants = [contestant_of(services, own, release) for release in releases]
    generation = tuned(services.settings.generation, own.card)
    return await show_answers_of(here, contestants, form.text("prompt", ""), generation, is_blind=form.has("blind"))


async def show_answers_of(
    here: Here,
    contestants: Sequence[Contestant],
    prompts: str,
    generation: GenerationSettings,
    *,
    is_blind: bool = False,
) -> web.Response:
    """Ask the contestants; `prompts` are lines, or empty for some of the bank."""
    chosen = await asyncio.to_thread(_chosen_prompts, prompts, here.services.settings.arena.prompts)
    with here.asking():
        compared = await compare_versions(here.services.engine, contestants, chosen, generation=generation)
    shown = [_shown(one, contestants, is_blind=is_blind) for one in compared]
    return here.fill("compared.html" if here.is_partial else "comparison.html", compared=shown, is_blind=is_blind)


def _shown(compared: Comparison, contestants: Sequence[Contestant], *, is_blind: bool) -> ShownPair:
    answers = [(one.name, answer) for one, answer in zip(contestants, compared.answers, strict=True)]
    return ShownPair(compared.prompt, random.sample(answers, len(answers)) if is_blind else answers)


def _chosen_prompts(given: str, bank: str) -> list[str]:
    """Return the given prompts, or else some of the bank; raises UserFacingError and SettingsError."""
    prompts = [line.strip() for line in given.splitlines() if line.strip()]
    if len(prompts) > MOST_PROMPTS:
        raise UserFacingError(f"These are {len(prompts)} prompts: ask at most {MOST_PROMPTS} at once.")
    if any(len(prompt) > MAX_PROMPT_CHARS for prompt in prompts):
        raise UserFacingError(f"A prompt is longer than {MAX_PROMPT_CHARS:,} characters. Please shorten it.")
    return prompts or choose_prompts(read_bank(bank))


ROUTES = [
    get("/versions", show_versions),
    get("/versions/list", show_version_list),
    get(rf"/versions/{{version:v\d{{1,{LARGEST_NUMBER}}}}}", show_version),
    post("/versions/promote", promote_chosen),
    post("/versions/rollback", roll_back_one),
    post("/versions/compare", compare_side_by_side),
]
