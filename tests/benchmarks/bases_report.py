"""The numbers of `reactune bench bases` as ratios, and as tables for results/bases.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.disturbance import Ratio, ratio_of
from tests.benchmarks.report import Row, table
from tests.benchmarks.serving_sitting import LLAMA_CPP, OPENVINO, PLAIN
from tests.benchmarks.training_sides import OURS

ABSENT = "–"
SERVING = (
    "side", "weights", "start, s", "a version is ready, s", "tokens/s, 1 chat", "8 chats", "first token, s",
    "of a prompt of", "swap, s", "back, s", "versions differ", "start, GiB", "one version, GiB", "two, GiB", "GPU, GiB",
)  # fmt: skip
STAGES = (("start", "version"), ("alone", "together", "long prompt"), ("swap", "swap back"))
"""What an engine needs memory for, one after the other."""
ROUND = ("side", "weights", "round, s", "of it loading, s", "steps", "pairs/s", "GiB", "GPU, GiB")

Side = tuple[str, str]
"""Who, and the format of its weights."""


def sides_of(rows: Sequence[Row], part: str) -> dict[Side, dict[str, Row]]:
    """Return the rows of a part by side, then by what was measured."""
    found: dict[Side, dict[str, Row]] = {}
    for row in rows:
        if row["part"] == part:
            found.setdefault((row["side"], row["weights"]), {})[row["what"]] = row
    return found


def ratios_of(rows: Sequence[Row]) -> dict[str, Ratio]:
    """Return how many times as fast as generate() an engine is, as llama.cpp what the bot chooses, and as TRL ours."""
    serving = sides_of(rows, "serving")
    return dict([*_serving_ratios(serving), *_llama_ratios(serving), *_round_ratios(sides_of(rows, "round"))])


def _llama_ratios(sides: Mapping[Side, Mapping[str, Row]]) -> Iterator[tuple[str, Ratio]]:
    ours = sides.get((OPENVINO, "chosen"), {})
    measured = {"alone": "tokens_per_s", "together": "tokens_per_s", "long prompt": "prompt_tokens_per_s"}
    for (side, weights), theirs in sides.items():
        if side == LLAMA_CPP:
            for what, key in measured.items():
                pair = (ours.get(what, {}), key), (theirs.get(what, {}), key)
                yield _llama_name(weights, what.replace(" ", "_")), ratio_of(*pair)


def _serving_ratios(sides: Mapping[Side, Mapping[str, Row]]) -> Iterator[tuple[str, Ratio]]:
    plain = {weights: told for (side, weights), told in sides.items() if side == PLAIN}
    for (side, weights), told in sides.items():
        if side in (PLAIN, LLAMA_CPP) or not plain:
            continue
        theirs = plain.get(weights, next(iter(plain.values())))
        for what in ("alone", "together"):
            pair = (told.get(what, {}), "tokens_per_s"), (theirs.get(what, {}), "tokens_per_s")
            yield _name(side, weights, what), ratio_of(*pair)
        pair = (theirs.get("long prompt", {}), "first_token_s"), (told.get("long prompt", {}), "first_token_s")
        yield _name(side, weights, "first token"), ratio_of(*pair)


def _round_ratios(sides: Mapping[Side, Mapping[str, Row]]) -> Iterator[tuple[str, Ratio]]:
    for (side, weights), told in sides.items():
        ours, theirs = sides.get((OURS, weights), {}).get("training", {}), told.get("training", {})
        if side != OURS:
            yield _name(side, weights, "training"), ratio_of((ours, "pairs_per_s"), (theirs, "pairs_per_s"))


def contract_of(rows: Sequence[Row], ratios: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the keys of the summary that other programs read, of what the bot chooses by itself.

    llama.cpp has no adapter; beside it with the same adapter, `..._with_version`.
    """
    sides = sides_of(rows, "serving")
    start = next((told.get("start", {}) for side, told in sides.items() if side == (OPENVINO, "chosen")), {})
    keys = {"alone": "ratio_1", "together": "ratio_8", "long_prompt": "ratio_prefill"}
    found: dict[str, float | None] = {
        f"llama_cpp_{key}{'_with_version' if 'version' in weights else ''}": ratios.get(_llama_name(weights, what))
        for side, weights in sides
        if side == LLAMA_CPP
        for what, key in keys.items()
    }
    if start:
        found["served_by_openvino"] = 0 if "failed" in start or "recipe" not in start else 1
    trained = next((value for name, value in ratios.items() if name.endswith("_training_ratio")), None)
    return found | ({"training_ratio": trained} if trained else {})


def _llama_name(weights: str, what: str) -> str:
    return f"openvino_over_llama.cpp_{weights}_{what}_ratio".replace(" ", "_").replace(",", "")


def memory_ratios_of(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return which share of TRL's memory ours takes, of the GPU if there is one: other work does not disturb it."""
    sides = sides_of(rows, "round")
    found = {}
    for (side, weights), told in sides.items():
        ours, theirs = sides.get((OURS, weights), {}).get("training", {}), told.get("training", {})
        memory = "gpu_mib" if ours.get("gpu_mib") else "peak_memory_mib"
        if side != OURS:
            found[_name(side, weights, "memory")] = ratio_of((ours, memory), (theirs, memory)).value
    return found


def _name(side: str, weights: str, what: str) -> str:
    return f"{side}_{weights}_{what}_ratio".replace(" ", "_")


def tables(base: Mapping[str, Any], rows: Sequence[Row], ratios: Mapping[str, float | None]) -> str:
    """Return two Markdown tables, and a line for each ratio that was measured."""
    size = f"{base['parameters'] / 1e9:.2f} billion parameters" if base["parameters"] else "a model in a folder"
    lines = [
        f"### Base {base['size']}: {size}",
        "",
        *table(SERVING, [_serving_cells(side, told) for side, told in sides_of(rows, "serving").items()]),
        "",
        f"A round of {base['pairs']} pairs, one to a prompt of {base['prompt_tokens']} tokens, one pass:",
        "",
        *table(ROUND, [_round_cells(side, told) for side, told in sides_of(rows, "round").items()]),
        "",
        *(f"- {line}" for line in _remarks(rows)),
        *(f"- {name.replace('_', ' ')}: {_shown(ratio)}" for name, ratio in ratios.items() if ratio is not None),
    ]
    return "\n".join(lines)


def _serving_cells(side: Side, told: Mapping[str, Row]) -> list[str]:
    if (ending := _ending(told)) and "alone" not in told:
        return [*side, ending, *[ABSENT] * (len(SERVING) - 3)]
    numbers = (
        ("start", "seconds"),
        ("version", "seconds"),
        ("alone", "tokens_per_s"),
        ("together", "tokens_per_s"),
        ("long prompt", "first_token_s"),
        ("long prompt", "prompt_tokens"),
        ("swap", "seconds"),
        ("swap back", "seconds"),
    )
    differ = {True: "yes", False: "NO"}.get(told.get("difference", {}).get("versions_differ"), ABSENT)
    stages = [[told[what] for what in stage if what in told] for stage in STAGES]
    memory = [*(_most(stage, "peak_memory_mib") for stage in stages), _most(told.values(), "gpu_mib")]
    return [*side, *(_shown(told.get(what, {}).get(name)) for what, name in numbers), differ, *memory]


def _round_cells(side: Side, told: Mapping[str, Row]) -> list[str]:
    training = told.get("training", {})
    if (ending := _ending(told)) and "seconds" not in training:
        return [*side, ending, *[ABSENT] * (len(ROUND) - 3)]
    is_part = training.get("of_steps", 0) > training["steps"]
    steps = f"{training['steps']} of {training['of_steps']}, the rest extrapolated" if is_part else training["steps"]
    numbers = (_shown(training[name]) for name in ("seconds", "loading_s"))
    memory = [_most(told.values(), name) for name in ("peak_memory_mib", "gpu_mib")]
    return [*side, *numbers, str(steps), _shown(training["pairs_per_s"]), *memory]


def _ending(told: Mapping[str, Row]) -> str:
    """Return why a side has no numbers, or not all."""
    return next((row[name] for row in told.values() for name in ("failed", "skipped") if name in row), "")


def _most(rows: Iterable[Row], name: str) -> str:
    """Return the most memory of some rows, in GiB."""
    most = max((row[name] for row in rows if row.get(name)), default=0)
    return f"{most / 1024:.1f}" if most else ABSENT


def _remarks(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        name = f"{row['side']}, {row['weights']}"
        if row["what"] == "judging":
            answers, verdict = row["messages"], row["verdict"]
            yield f"{name}: judged in {row['seconds']} s on {answers} answers; the gate said {verdict}."
        if ending := row.get("failed"):
            held = f", at {row['peak_memory_mib'] / 1024:.1f} GiB" if "peak_memory_mib" in row else ""
            yield f"{name}, {row['part']}: {ending}{held}."


def _shown(number: float | None) -> str:
    if number is None:
        return ABSENT
    return f"{number:.3g}" if abs(number) < 1_000 else f"{number:,.0f}"
