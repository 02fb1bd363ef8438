from __future__ import annotations

import os
import signal

import pytest

from tests.benchmarks.apart import EndedEarly, TellRow, rows_apart


def test_what_is_killed_while_it_is_measured_says_how_much_it_held() -> None:
    rows = rows_apart(tell_a_row_and_die, "a row")
    assert next(rows)["what"] == "a row"
    with pytest.raises(EndedEarly, match=r"^killed: more than \d\.\d GiB$"):
        next(rows)


def tell_a_row_and_die(what: str, tell: TellRow) -> None:
    tell({"what": what})
    os.kill(os.getpid(), signal.SIGKILL)
