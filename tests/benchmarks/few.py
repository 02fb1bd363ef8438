"""A small server's first votes: lone thumbs on answers as members are served them, then one round.

Nobody has opted in: members' messages are answered and voted on, and never trained on. The round learns from the
prompt bank, whose answers the taste ranks. All numbers are of messages that nobody voted on. A taste that may not teach
starts no round, so that no version is made: then its numbers are None.
"""

from __future__ import annotations

import time
from typing import Any

from bot.demo.community import find_taste
from storage.taste.examples import NO_EXAMPLES, Examples
from storage.taste.orders import orders_to_try
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
WAYS = "base", "served", "told", "adapter", "both"
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
        """Return a row for each way to answer and one for the round, and the summary."""
        self._converse()
        began = time.monotonic()
        round_ = self._train()
        described = self._describe(round_) | {"seconds_of_round": time.monotonic() - began}
        made = self._made(round_)
        self._bot.learn()  # the round has drawn the answers from which examples are chosen
        order = self._order()
        told = Examples(order=order)
        ways = {
            "base": self._judge(None, each=EACH, shown=NO_EXAMPLES, candidates=1),
            "served": self._judge(None, each=EACH),
        }
        # Where the taste gives no order, telling it is the plain prompt.
        ways["told"] = self._judge(None, each=EACH, shown=told, candidates=1) if order else ways["base"]
        if made:
            ways["adapter"] = self._judge(made, each=EACH, shown=NO_EXAMPLES, candidates=1)
            ways["both"] = self._judge(made, each=EACH)
        rows = {name: {"answers": name} | describe_way(way) for name, way in ways.items()}
        rows["served"] |= self._describe_taste()
        rows["told"] |= {"order": order}
        summary = {
            f"approval_{name}{end}": rows[name][f"approval{end}"] if name in rows else None
            for end in ("", "_low")
            for name in WAYS
        }
        costs = compare_ways(ways["served"], ways.get("both", ways["served"]), made)
        summary |= costs if made else dict.fromkeys(costs)
        summary |= {
            "fit_ratio_served": fit_ratio(ways["base"], ways["served"]),
            "degenerate_share_base": ways["base"].degenerate_share,
            "versions_made": int(made is not None),
        }
        return [*rows.values(), {"version_made": made.name if made else None} | described], summary

    def _order(self) -> str:
        """Return the order that the taste gives, for what people most surely like; empty if it gives none."""
        taste = self._bot.services.tastes.of(self._personality)
        orders = orders_to_try(taste, self._settings) if taste else []
        return orders[0].text if orders else ""

    def _describe_taste(self) -> dict[str, Any]:
        """Return whether the taste acts, and what the base is shown of it."""
        known = self._bot.services.tastes
        taste, shown = known.of(self._personality), known.examples_of(self._bot.personality)
        acts = (
            {"evidence": taste.e_value, "may_choose": taste.may_choose, "may_teach": taste.may_teach} if taste else {}
        )
        return acts | {"examples_shown": [vars(one) for one in shown.liked], "order_shown": shown.order}
