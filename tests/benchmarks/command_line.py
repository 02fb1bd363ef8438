"""`reactune bench`: each bench is a module in this folder."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.demo.community import TASTES
from reactune.shared import AsJson, import_from_here, needed_by, notes, show_plain
from tests.benchmarks.random_base import SHAPES
from tests.benchmarks.report import tables

bench = typer.Typer()

Taste = Annotated[str, typer.Option(help=f"What members like: {', '.join(TASTES)} or module:function.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the first server, or of members and training.")]
Noise = Annotated[float, typer.Option(min=0, max=1, help="Share of votes or choices that go the wrong way.")]
Base = Annotated[str, typer.Option(help="Base model, as in model.base.")]
Judge = Annotated[str, typer.Option(help="Folder of the model that judges coherence and fit (default: the gate's).")]


@bench.command("votes")
def bench_votes(as_json: AsJson = False) -> None:
    """Measure votes stored and read per second, on SQLite and PostgreSQL."""
    _run("votes", **locals())


@bench.command("console")
def bench_console(
    *,
    answers: Annotated[int, typer.Option(min=1, help="Answers on the larger of both servers.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Measure how soon the console's pages are there, with many answers and with a handful."""
    _run("console", **locals())


@bench.command("loop")
def bench_loop(as_json: AsJson = False) -> None:
    """Measure delays of the bot's event loop during generation, next to a busy process, and during training."""
    _run("loop", **locals())


@bench.command("community")
def bench_community(
    *,
    taste: Taste = "short",
    votes: Annotated[int, typer.Option(min=1, help="Votes per round.")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each learns from all votes so far.")] = 3,
    noise: Noise = 0.0,
    brigade: Annotated[float, typer.Option(min=0, max=1, help="Share of votes from colluding new accounts.")] = 0.0,
    single: Annotated[bool, typer.Option("--single", help="Only one answer per message, so only lone votes.")] = False,
    judge: Judge = "",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate a server with a hidden taste and measure whether the bot improves. Takes minutes."""
    _run("community", **locals())


@bench.command("few")
def bench_few(
    *,
    taste: Taste = "warm",
    votes: Annotated[int, typer.Option(min=1, help="Lone votes, each on another answer.")] = 40,
    noise: Noise = 0.1,
    polite: Annotated[bool, typer.Option("--polite", help="Members like nearly everything.")] = False,
    judge: Judge = "",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure what a few single thumbs on served answers teach: what is served before a round, and after it.

    It takes twenty minutes.
    """
    _run("few", **locals())


@bench.command("night")
def bench_night(
    *,
    taste: Taste = "question",
    choices: Annotated[int, typer.Option(min=0, help="Pairs in which the person chooses, before the round.")] = 40,
    judged: Annotated[int, typer.Option(min=1, help="Pairs in which the same person judges the version blind.")] = 60,
    noise: Noise = 0.1,
    judge: Judge = "",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Let one person choose, run a round, and let the same person judge its version blind. Takes fifteen minutes."""
    _run("night", **locals())


@bench.command("humans")
def bench_humans(
    *,
    servers: Annotated[int, typer.Option(min=1, help="Servers of each kind and number of votes.")] = 16,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure what the taste learns from ratings of real people, and when it acts. No model; takes a minute."""
    _run("humans", **locals())


@bench.command("server")
def bench_server(
    *,
    profile: Annotated[
        str, typer.Option(help="village (4 members), small (10), medium (40), large (200) or module:object.")
    ] = "small",
    taste: Taste = "warm",
    weeks: Annotated[int, typer.Option(min=1, help="Simulated weeks.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="Servers to simulate.")] = 12,
    seed: Seed = 0,
    real: Annotated[bool, typer.Option("--real", help="Answer and train with the model: hours.")] = False,
    sitting: Annotated[
        bool,
        typer.Option("--sitting", help="An admin labels 40 pairs on day one, and judges each version in up to 30."),
    ] = False,
    judge: Judge = "",
    as_json: AsJson = False,
) -> None:
    """Simulate small servers for months, with a stand-in for the model. Takes about 20 seconds a server and month."""
    _run("server", **locals())


@bench.command("demonstration")
def bench_demonstration(
    *,
    card: Annotated[str, typer.Option(help="Card in personalities/ whose examples are used.")] = "default",
    base: Base = "bundled",
    messages: Annotated[int, typer.Option(min=1, help="Unseen messages to answer.")] = 96,
    judge: Judge = "",
    seed: Seed = 0,
    shown: Annotated[
        bool, typer.Option("--shown", help="Only show the examples as earlier turns; no training.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what a card's examples teach, or show, beyond its system prompt. Takes minutes."""
    options = locals()
    _run("shown_examples" if options.pop("shown") else "demonstration", **options)


@bench.command("knowledge")
def bench_knowledge(as_json: AsJson = False) -> None:
    """Measure document search: what it finds, what the model answers, and how long it takes. Takes minutes."""
    _run("knowledge", **locals())


@bench.command("training")
def bench_training(*, base: Base = "bundled", as_json: AsJson = False) -> None:
    """Compare a round's speed and memory with plain TRL on the same pairs. Takes 15 minutes."""
    _run("training", **locals())


@bench.command("bases")
def bench_bases(
    *,
    size: Annotated[str, typer.Option(help=f"Of a base with random weights: {', '.join(SHAPES)}.")] = "small",
    base: Annotated[Path | None, typer.Option(help="Folder of a base with real weights, in place of --size.")] = None,
    gguf: Annotated[Path | None, typer.Option(help="The same weights as a GGUF file, for llama.cpp.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU if there is one.")] = "auto",
    bits: Annotated[
        list[int] | None,
        typer.Option(
            help="Bits of served weights: 16, 8, 4, or 0 for what the bot chooses; several times for several."
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs of the round; 0: no round.")] = 32,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Length of each pair's prompt, in tokens.")] = 200,
    trl_steps: Annotated[int, typer.Option(min=0, help="Stop TRL after so many steps; 0: after a pass.")] = 0,
    judge: Annotated[bool, typer.Option("--judge", help="Also judge the round's version, as the gate does.")] = False,
    dtype: Annotated[str, typer.Option(help="Number format of training, as in training.dtype.")] = "auto",
    vllm: Annotated[str, typer.Option(help="The program vllm, to serve beside ours on a GPU.")] = "",
    as_json: AsJson = False,
) -> None:
    """Measure serving and a round on a base, beside generate(), llama.cpp and plain TRL. Takes minutes to hours."""
    _run("bases", **locals())


@bench.command("gpu")
def bench_gpu(
    *,
    size: Annotated[list[str] | None, typer.Option(help="Sizes of bases (default: 4b and 8b).")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Try every step on a CPU with a tiny base.")] = False,
    vllm: Annotated[str, typer.Option(help="The program vllm; it can be in an environment of its own.")] = "vllm",
    report: Annotated[Path, typer.Option(help="Markdown file that gets the tables.")] = Path("gpu-check.md"),
    as_json: AsJson = False,
) -> None:
    """Run all that needs a GPU: rounds in bfloat16 and 4 bits, serving, vLLM. `make gpu-check` runs this."""
    _run("gpu_check", **locals())


@bench.command("serving")
def bench_serving(
    *,
    think: Annotated[float, typer.Option(min=0, help="Mean pause between messages, in seconds; 0 is full load.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Compare latency, throughput and memory with plain generate() and llama.cpp. Takes 12 minutes."""
    _run("serving", as_json, think_s=think)


@bench.command("startup")
def bench_startup(as_json: AsJson = False) -> None:
    """Measure the time to the first answer, of the engine and of the bot. Takes 3 minutes."""
    _run("startup", **locals())


@bench.command("capacity")
def bench_capacity(
    *,
    votes_per_day: Annotated[int, typer.Option(min=1, help="Votes per day, on all servers together.")] = 1_000_000,
    answers_per_day: Annotated[int, typer.Option(min=1, help="Answers per day, on all servers together.")] = 2_000_000,
    processes: Annotated[int, typer.Option(min=1, help="Bot processes.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Measure the database and gateway load of a bot on thousands of servers. Takes 15 minutes."""
    _run("capacity", **locals())


@bench.command("soak")
def bench_soak(
    *,
    answers: Annotated[int, typer.Option(min=40, help="Complete answers to generate.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Answer thousands of messages despite crashes; exits with 1 if memory grew or any was lost. Takes 10 minutes."""
    if _run("soak", **locals())["summary"]["problems"]:
        raise typer.Exit(1)


@bench.command("faults")
def bench_faults(
    *,
    kills: Annotated[int, typer.Option(min=6, help="Number of kill -9, over bot, database and trainer.")] = 210,
    seed: Seed = 0,
    only: Annotated[str, typer.Option(help="Only this fault, such as kills (default: all).")] = "",
    as_json: AsJson = False,
) -> None:
    """Break everything under load; exits with 1 if anything was lost. Linux only, takes an hour."""
    if _run("faults", **locals())["summary"]["lost"]:
        raise typer.Exit(1)


def _run(name: str, as_json: bool, **options: Any) -> dict[str, Any]:
    import_from_here()
    with needed_by(f"bench {name}", "it in a checkout after `pip install -e '.[bench]'`"):
        module = importlib.import_module(f"tests.benchmarks.{name}")
        began = time.perf_counter()
        result: dict[str, Any] = module.run(**options)
    notes.print(f"It took {(time.perf_counter() - began) / 60:.1f} minutes.")
    text = result.get("markdown") or tables(result)
    if as_json:
        notes.print(text, markup=False, highlight=False, soft_wrap=True)
    show_plain(result, text, as_json)
    return result
