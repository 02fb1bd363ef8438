"""The tenacity options that all retries share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_before_delay, wait_random_exponential

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


def retries(
    may_pass: Callable[[Any], bool], report: Callable[[Any], object], retry_s: float = math.inf
) -> dict[str, Any]:
    """Return options for Retrying and AsyncRetrying that retry errors for which `may_pass` returns True.

    `report` gets the first error before the first retry. Pauses are random, up to a limit that doubles each time, so
    that two processes that collided do not collide again. The last error is raised if the next try would start later
    than `retry_s` after the first.
    """

    def before_sleep(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            report(state.outcome.exception())

    return {
        "retry": retry_if_exception(may_pass),
        "wait": wait_random_exponential(SHORTEST_PAUSE_S, max=LONGEST_PAUSE_S),
        "stop": stop_before_delay(retry_s),
        "before_sleep": before_sleep,
        "reraise": True,
    }
