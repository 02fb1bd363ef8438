from __future__ import annotations

from tests.benchmarks.soak import Sample, grown


def samples(memory_of_quarter: list[float], threads: int = 20) -> list[Sample]:
    """Return ten samples a quarter, the first four of a process that fills its memory."""
    return [
        Sample(
            answers=250 * (10 * quarter + number + 1),
            memory_mib=memory if number >= 4 else memory / 2,
            bot_memory_mib=300.0,
            open_files=40,
            threads=threads + quarter,
        )
        for quarter, memory in enumerate(memory_of_quarter)
        for number in range(10)
    ]


def test_growth_from_the_second_to_the_last_quarter_is_named() -> None:
    assert grown(samples([800.0, 1000.0, 1010.0, 1040.0], threads=100)) == []
    assert grown(samples([800.0, 1000.0, 1030.0, 1060.0], threads=100)) == ["memory_mib"]
    assert grown(samples([800.0, 1000.0, 1000.0, 1000.0], threads=20)) == ["threads"]
