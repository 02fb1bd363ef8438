"""How work is tried again after a failure that may pass: the options that all who use tenacity share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_before_delay, wait_random_exponential

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


def retries(
    may_pass: Callable[[Any], bool], report: Callable[[Any], object], patience_s: float = math.inf
) -> dict[str, Any]:
    """Return options for Retrying and AsyncRetrying: an error that `may_pass` does not accept is raised at once.

    `report` gets the first error, once it is clear that there is another try. Pauses are random, up to a limit that
    doubles each time: two that collided do not meet again, and many that wait do not return together. The last error
    is raised if the next try would come later than `patience_s`.
    """

    def before_sleep(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            report(state.outcome.exception())

    return {
        "retry": retry_if_exception(may_pass),
        "wait": wait_random_exponential(SHORTEST_PAUSE_S, max=LONGEST_PAUSE_S),
        "stop": stop_before_delay(patience_s),
        "before_sleep": before_sleep,
        "reraise": True,
    }
