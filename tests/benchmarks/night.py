"""Twenty choices, one night, proven by people: one person chooses, a round runs, and the same person judges blind.

Pairs are drawn, asked and counted by the product's own code (`bot/sittings/drawer.py`, `storage/sittings`) as `/choose`
asks an admin, and so is the evidence. Both arms of a judgement are as they are served, each a single sample. Approvals
are of such samples too, to messages that nobody chose about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from bot.errors import BotError
from bot.sittings.drawer import PairDrawer
from storage.database.enums import OPERATOR, GateVerdict
from storage.database.tables import ReplyRow, SittingPairRow
from storage.members import DIRECT
from storage.releases.contests import Contest, Standing, find_rival, read_contest
from storage.sittings.sittings import (
    Sitting,
    SittingPair,
    begin_sitting,
    end_sitting,
    label_pair,
    next_pair,
    read_progress,
)
from storage.votes.weights import DISCORD_EPOCH
from tests.benchmarks.community import PACKAGES, Community, Simulation, compare_ways, describe_way, simulation
from tests.benchmarks.people import say
from tests.benchmarks.report import Row, report

EACH = 2
"""Answers to each held-out message."""
POLL_S = 0.05
HOME = DIRECT, DISCORD_EPOCH


def run(
    *,
    taste: str = "question",
    choices: int = 40,
    judged: int = 60,
    noise: float = 0.1,
    judge: str = "",
    seed: int = 0,
) -> Row:
    """Return machine, versions, a row for each way to answer and one for the choices, and the summary."""
    began = time.monotonic()
    with simulation(Night, Community(taste, choices, noise, seed), judge) as night:
        rows, summary = night.live(judged)
    person = {"taste": taste, "choices": choices, "judged": judged, "noise": noise, "seed": seed}
    summary |= {"seconds": time.monotonic() - began}
    return report(rows, summary, *PACKAGES, person=person, judge=night.critic.name)


class Night(Simulation):
    def live(self, judged: int) -> tuple[list[Row], dict[str, Any]]:
        began = time.monotonic()
        taught = self._bot.wait(self._sit(self._community.votes))
        chosen = time.monotonic()
        made, described = self._train()
        trained = time.monotonic()
        self._bot.learn()  # the round has drawn the answers from which examples are chosen
        before = self._judge(None, each=EACH, candidates=1)
        after = self._judge(made, each=EACH, candidates=1) if made else before
        measured = time.monotonic()
        looks, liked = self._bot.wait(self._judge_blind(judged)) if made else ([], {})
        seconds = {"choosing": chosen - began, "round": trained - chosen, "judging": time.monotonic() - measured}
        rows: list[Row] = [
            {"answers": "served"} | describe_way(before),
            {"answers": "version"} | describe_way(after) | described,
            {"choices": taught, "judgements": (_own(looks[-1]).numbers if looks else {}) | liked}
            | {f"seconds_{what}": took for what, took in seconds.items()},
        ]
        summary = {
            "approval_served": rows[0]["approval"],
            "approval_version": rows[1]["approval"],
            "approval_version_low": rows[1]["approval_low"],
            "pairs_until_ready": pairs_until_ready(looks, judged),
            "e_value": _own(looks[-1]).better if looks else 1.0,
        }
        costs = compare_ways(before, after, made) | {"degenerate_share_served": before.degenerate_share}
        return rows, summary | costs

    async def _sit(self, pairs: int) -> dict[str, int]:
        """Let the person choose in pairs that teach, and return how often they said what."""
        sitting, drawer = await self._begin(), PairDrawer(self._bot.services)
        for _ in range(pairs):
            await self._label_next(sitting, drawer)
        await self._end(sitting)
        counts = (await self._bot.services.database.read(read_progress, sitting.id)).counts
        return {label.value: number for label, number in counts.items()}

    async def _judge_blind(self, pairs: int) -> tuple[list[Contest], dict[str, float]]:
        """Let the person judge the waiting version; return what stands after each pair, and what they truly like.

        There is nothing to judge if no version waits. The taste learns from each judgement, and what is served follows.
        """
        database, votes, looks = self._bot.services.database, self._settings.votes, []
        if await database.read(find_rival, self._personality) is None:
            return [], {}
        sitting, drawer = await self._begin(), PairDrawer(self._bot.services)
        for _ in range(pairs):
            await self._label_next(sitting, drawer)
            contest = await database.read(read_contest, self._personality, votes)
            assert contest is not None, "nobody concludes it"
            looks.append(contest)
        await self._end(sitting)
        return looks, await database.read(self._read_liked, sitting)

    def _read_liked(self, session: Session, sitting: Sitting) -> dict[str, float]:
        """Return the share of each arm's answers in labelled pairs that the person truly likes."""
        labelled = SittingPairRow.sitting_id == sitting.id, SittingPairRow.label.is_not(None)
        side = or_(ReplyRow.id == SittingPairRow.first_id, ReplyRow.id == SittingPairRow.second_id)
        said = select(SittingPairRow.prompt, ReplyRow.answer, ReplyRow.version_id).join(ReplyRow, side).where(*labelled)
        likes: dict[str, list[float]] = {"liked_served": [], "liked_version": []}
        for prompt, answer, version_id in session.execute(said):
            likes["liked_version" if version_id else "liked_served"].append(self._taste(prompt, answer))
        return {arm: fmean(of_arm) for arm, of_arm in likes.items() if of_arm}

    async def _begin(self) -> Sitting:
        return await self._bot.services.database.run(begin_sitting, self._personality, OPERATOR)

    async def _end(self, sitting: Sitting) -> None:
        await self._bot.services.tasks.finish()  # pairs that nobody will label any more
        await self._bot.services.database.run(end_sitting, sitting.id)

    async def _label_next(self, sitting: Sitting, drawer: PairDrawer) -> None:
        services = self._bot.services
        pair = await self._next_pair(sitting, drawer)
        label = say(*(self._likes(pair.prompt, side.text) for side in (pair.first, pair.second)))
        await services.database.run(label_pair, sitting, pair.id, label, HOME, by_admin=True)
        await services.tastes.refresh(sitting.personality_id)
        await services.tastes.settle()

    async def _next_pair(self, sitting: Sitting, drawer: PairDrawer) -> SittingPair:
        drawer.keep_ahead(sitting)
        while (pair := await self._bot.services.database.read(next_pair, sitting)) is None:
            if problem := drawer.take_problem(sitting):
                raise BotError(problem)
            drawer.keep_ahead(sitting)
            await asyncio.sleep(POLL_S)
        return pair


def _own(contest: Contest) -> Standing:
    """Return what the person chose, which is an admin's own verdict."""
    return contest.admins.get(OPERATOR, contest.members)


def pairs_until_ready(looks: Sequence[Contest], judged: int) -> int:
    """Return after how many pairs the version was ready; one more than there were if they dropped it, or never."""
    decisions = ((number, contest.decision) for number, contest in enumerate(looks, 1))
    number, first = next(((number, one) for number, one in decisions if one), (0, None))
    return number if first and first.verdict is GateVerdict.PASS else judged + 1
