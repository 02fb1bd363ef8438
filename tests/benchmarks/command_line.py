"""`reactune bench`: each bench is a module beside this one."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from reactune.console import AsJson, import_from_here, needed_by, notes, show

bench = typer.Typer()


@bench.command("votes")
def bench_votes(as_json: AsJson = False) -> None:
    """Votes stored and read per second, on SQLite and PostgreSQL."""
    _run("votes", as_json)


@bench.command("loop")
def bench_loop(as_json: AsJson = False) -> None:
    """Delays of the bot's event loop while it generates, beside a busy neighbour, and while a round trains."""
    _run("loop", as_json)


@bench.command("community")
def bench_community(
    *,
    taste: Annotated[str, typer.Option(help="What members like: a built-in taste, or module:function.")] = "short",
    votes: Annotated[int, typer.Option(min=1, help="Votes in a round.")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each from the version before.")] = 3,
    noise: Annotated[float, typer.Option(min=0, max=1, help="Share of votes that are flipped.")] = 0.0,
    brigade: Annotated[float, typer.Option(min=0, max=1, help="Share of votes by colluding new accounts.")] = 0.0,
    single: Annotated[bool, typer.Option("--single", help="Lone votes only, no siblings.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of members and training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """A simulated server with a hidden taste: does the loop improve the bot? Takes minutes."""
    _run(
        "community",
        as_json,
        taste=taste,
        votes=votes,
        rounds=rounds,
        noise=noise,
        brigade=brigade,
        single=single,
        seed=seed,
    )


@bench.command("demonstration")
def bench_demonstration(
    *,
    card: Annotated[str, typer.Option(help="Whose examples are learned: a card in personalities/.")] = "default",
    base: Annotated[str, typer.Option(help="The base model, as in model.base.")] = "bundled",
    messages: Annotated[int, typer.Option(min=1, help="Strangers' messages that are answered.")] = 96,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, the messages and the training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """What a card's examples teach beyond its system prompt, before and after. Takes minutes."""
    _run("demonstration", as_json, card=card, base=base, messages=messages, seed=seed)


@bench.command("knowledge")
def bench_knowledge(as_json: AsJson = False) -> None:
    """What a search in documents finds, what the model makes of it, and how long it takes. Takes minutes."""
    _run("knowledge", as_json)


@bench.command("training")
def bench_training(
    *,
    base: Annotated[str, typer.Option(help="The base model, as in model.base.")] = "bundled",
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs in a step.")] = 6,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps of each side.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Pairs per second and memory of a round beside TRL's on the same pairs. Takes a quarter of an hour."""
    _run("training", as_json, base=base, batch_size=batch_size, steps=steps)


@bench.command("serving")
def bench_serving(
    *,
    think: Annotated[float, typer.Option(min=0, help="Mean pause before a next message, s; 0 is a full load.")] = 1.0,
    window: Annotated[float, typer.Option(min=1, help="Seconds that each number of chats talks.")] = 9.0,
    chart: Annotated[Path | None, typer.Option(help="Where to draw answers per second, a PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Waits, tokens per second and memory, beside plain generate() and llama.cpp. Takes twelve minutes."""
    _run("serving", as_json, think_s=think, window_s=window, chart=chart)


@bench.command("startup")
def bench_startup(as_json: AsJson = False) -> None:
    """Seconds until the first answer of the engine, by number of versions, and of the bot. Takes three minutes."""
    _run("startup", as_json)


@bench.command("capacity")
def bench_capacity(
    *,
    votes_per_day: Annotated[int, typer.Option(min=1, help="Votes of all servers in a day.")] = 1_000_000,
    answers_per_day: Annotated[int, typer.Option(min=1, help="Answers of all servers in a day.")] = 2_000_000,
    processes: Annotated[int, typer.Option(min=1, help="Processes of the bot.")] = 4,
    as_json: AsJson = False,
) -> None:
    """What database and gateway carry of a bot in thousands of servers. Takes a quarter of an hour."""
    load = {"votes_per_day": votes_per_day, "answers_per_day": answers_per_day}
    _run("capacity", as_json, processes=processes, **load)


@bench.command("soak")
def bench_soak(
    *,
    answers: Annotated[int, typer.Option(min=40, help="Whole answers.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Thousands of answers with crashes: exits with 1 where memory grew or an answer was lost. Takes ten minutes."""
    if _run("soak", as_json, answers=answers)["summary"]["problems"]:
        raise typer.Exit(1)


@bench.command("faults")
def bench_faults(
    *,
    kills: Annotated[int, typer.Option(min=6, help="kill -9 of bot, database and trainer, together.")] = 210,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what members do and when things break.")] = 0,
    only: Annotated[str, typer.Option(help="One fault, such as kills; all where it is left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Break everything under load: exits with 1 where anything was lost. Linux; takes an hour."""
    if _run("faults", as_json, kills=kills, seed=seed, only=only)["summary"]["lost"]:
        raise typer.Exit(1)


def _run(name: str, as_json: bool, **options: Any) -> dict[str, Any]:
    import_from_here()
    with needed_by(f"bench {name}", "it in a checkout after `pip install -e '.[bench]'`"):
        module = importlib.import_module(f"tests.benchmarks.{name}")
        began = time.perf_counter()
        result: dict[str, Any] = module.run(**options)
    notes.print(f"It took {(time.perf_counter() - began) / 60:.1f} minutes.")
    show(result, json.dumps(result, indent=2), as_json)
    return result
