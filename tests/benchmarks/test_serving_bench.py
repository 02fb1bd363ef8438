from __future__ import annotations

from tests.benchmarks.serving_load import Told, measures


def test_tokens_are_counted_in_the_window_and_only_while_somebody_waits() -> None:
    early = Told(None, asked_at=1.0, first_token_at=2.0, ended_at=4.0, tokens=10, failed=False, finished=True)
    late = Told(None, asked_at=8.0, first_token_at=9.0, ended_at=11.0, tokens=20, failed=False, finished=True)
    given_up = Told(None, asked_at=9.0, first_token_at=None, ended_at=16.0, tokens=0, failed=False, finished=False)
    measured = measures([early, late, given_up], until=10.0)
    assert measured["tokens_per_s"] == (10 + 20 / 2) / (3 + 2)
    assert (measured["answers"], measured["unfinished"], measured["failed"]) == (2, 1, 0)
    assert measured["first_token_p50_s"] == 1.0
    assert measured["last_token_p50_s"] == 3.0
    assert measured["tokens_per_answer"] == 15.0


def test_members_who_gave_up_count_and_few_answers_have_no_percentile() -> None:
    given_up = Told(None, asked_at=9.0, first_token_at=None, ended_at=16.0, tokens=0, failed=False, finished=False)
    measured = measures([given_up] * 20, until=10.0)
    assert (measured["first_token_p95_s"], measured["last_token_p95_s"]) == (7.0, 7.0)
    assert measures([given_up] * 19, until=10.0)["last_token_p95_s"] is None
