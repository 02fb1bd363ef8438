"""A small server's first votes: lone thumbs on answers as members are served them, then one round.

Nobody has opted in: members' messages are answered and voted on, and never trained on. The round learns from the
prompt bank, whose answers the taste ranks. All numbers are of messages that nobody voted on. The bot has no way yet to
be told a taste in words, so there is no `approval_told`.
"""

from __future__ import annotations

import time
from typing import Any

from bot.demo.community import find_taste
from tests.benchmarks.community import (
    Community,
    Simulation,
    compare_ways,
    describe_way,
    fit_ratio,
    settings_of_bench,
    workshop,
)
from tests.benchmarks.report import machine, versions
from tests.benchmarks.served import served_bot

EACH = 2
"""Answers to each held-out message."""
POLITE_LIKES = 0.96, 0.7
"""Share of likes of polite members, under what pleases them and under what does not."""


def run(
    *,
    taste: str = "warm",
    votes: int = 40,
    noise: float = 0.1,
    polite: bool = False,
    judge: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Let members vote, learn their taste, run one round, and compare what is served before it and after."""
    began = time.monotonic()
    with workshop() as directory, served_bot(settings_of_bench(directory, seed)) as bot:
        server = SmallServer(Community(find_taste(taste), votes, noise, 0.0, single=True, seed=seed), bot, judge)
        server.is_polite = polite
        rows, summary = server.live()
    return {
        "machine": machine(),
        "versions": versions("torch", "transformers", "trl", "peft"),
        "server": {"taste": taste, "votes": votes, "noise": noise, "polite": polite, "seed": seed},
        "judge": server.critic.name,
        "rows": rows,
        "summary": summary | {"seconds": time.monotonic() - began},
    }


class SmallServer(Simulation):
    at_once = 1
    is_polite = False

    def _likes(self, message: str, answer: str) -> bool:
        if not self.is_polite:
            return super()._likes(message, answer)
        liked, disliked = POLITE_LIKES
        return self._random.random() < (liked if self._community.taste(message, answer) > 0.5 else disliked)

    def live(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return a row for each way to answer, and the summary."""
        self._converse()
        began = time.monotonic()
        round_ = self._train()
        described = self._describe(round_) | {"seconds_of_round": time.monotonic() - began}
        made = self._made(round_)
        self._bot.learn()  # the round has drawn the answers from which examples are chosen
        known = self._bot.services.tastes
        ways = {
            "base": self._judge(None, each=EACH, shows_examples=False, candidates=1),
            "served": self._judge(None, each=EACH),
            "adapter": self._judge(made, each=EACH, shows_examples=False, candidates=1),
            "both": self._judge(made, each=EACH),
        }
        rows = [{"answers": name} | describe_way(way) for name, way in ways.items()]
        taste = known.of(self._personality)
        rows[1] |= (
            {"evidence": taste.evidence, "may_choose": taste.may_choose, "may_teach": taste.may_teach} if taste else {}
        )
        rows[1] |= {"examples_shown": [vars(one) for one in known.examples_of(self._personality)]}
        rows[3] |= described
        summary = {f"approval_{row['answers']}": row["approval"] for row in rows}
        summary |= {f"approval_{row['answers']}_low": row["approval_low"] for row in rows}
        summary |= compare_ways(ways["served"], ways["both"], made)
        summary |= {"fit_ratio_served": fit_ratio(ways["base"], ways["served"])}
        return rows, summary | {"degenerate_share_base": ways["base"].degenerate_share}
