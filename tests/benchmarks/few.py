"""A small server's first votes: lone thumbs on answers as members are served them, then one round.

Nobody has opted in: members' messages are answered and voted on, and never trained on. The round learns from the
prompt bank, whose answers the taste ranks. All numbers are of messages that nobody voted on. A taste that may not teach
starts no round, so that no version is made: then its numbers are None.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from storage.taste.examples import NO_EXAMPLES, Examples
from storage.taste.orders import orders_to_try
from tests.benchmarks.community import (
    PACKAGES,
    Community,
    Simulation,
    compare_ways,
    describe_way,
    fit_ratio,
    simulation,
)
from tests.benchmarks.report import Row, report

EACH = 2
"""Answers to each held-out message."""
WAYS = "base", "served", "told", "adapter", "both"


def run(
    *,
    taste: str = "warm",
    votes: int = 40,
    noise: float = 0.1,
    polite: bool = False,
    judge: str = "",
    seed: int = 0,
) -> Row:
    """Let members vote, learn their taste, run one round, and compare what is served before it and after."""
    began = time.monotonic()
    community = Community(taste, votes, noise, seed, is_polite=polite)
    with simulation(SmallServer, community, judge) as server:
        rows, summary = server.live()
    about = {"server": asdict(community), "judge": server.critic.name}
    return report(rows, summary | {"seconds": time.monotonic() - began}, *PACKAGES, **about)


class SmallServer(Simulation):
    at_once = 1

    def live(self) -> tuple[list[Row], dict[str, Any]]:
        """Return a row for each way to answer and one for the round, and the summary."""
        self._converse()
        began = time.monotonic()
        made, described = self._train()
        described["seconds_of_round"] = time.monotonic() - began
        self._bot.learn()  # the round has drawn the answers from which examples are chosen
        order = self._order()
        ways = {
            "base": self._judge(None, each=EACH, shown=NO_EXAMPLES, candidates=1),
            "served": self._judge(None, each=EACH),
        }
        # Where the taste gives no order, telling it is the plain prompt.
        told = Examples(order=order)
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
        return [*rows.values(), described], summary

    def _order(self) -> str:
        """Return the order that the taste gives, for what people most surely like; empty if it gives none."""
        taste = self._bot.services.tastes.of(self._personality)
        orders = orders_to_try(taste, self._settings.generation) if taste else []
        return orders[0].text if orders else ""

    def _describe_taste(self) -> Row:
        """Return whether the taste acts, and what the base is shown of it."""
        known = self._bot.services.tastes
        taste, shown = known.of(self._personality), known.examples_of(self._bot.personality)
        acts = (
            {"evidence": taste.e_value, "may_choose": taste.may_choose, "may_teach": taste.may_teach} if taste else {}
        )
        return acts | {"examples_shown": [vars(one) for one in shown.liked], "order_shown": shown.order}
