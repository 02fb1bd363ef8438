from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

import pytest

from tests.benchmarks.apart import EndedEarly, rows_apart


def test_what_is_killed_while_it_is_measured_says_how_much_it_held() -> None:
    rows = rows_apart(send_a_row_and_die, "a row")
    assert next(rows)["what"] == "a row"
    with pytest.raises(EndedEarly, match=r"^killed: more than \d\.\d GiB$"):
        next(rows)


def send_a_row_and_die(what: str, rows: Connection) -> None:
    rows.send({"what": what})
    os.kill(os.getpid(), signal.SIGKILL)
