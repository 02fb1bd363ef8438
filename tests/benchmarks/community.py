"""A simulated server: members with a hidden taste talk, get answers, vote; rounds run; every version is judged.

Prompts, examples, candidates, storage, pairs, training, gate and aliases are the product's own (`served.py`); only
Discord and the members are simulated. The taste is hidden from everything but the members' thumbs.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from bot.demo.community import find_taste
from storage.conversations.degenerate import is_degenerate
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import Basis, GateVerdict
from storage.emoji import DISLIKE, LIKE
from storage.members import note_members, read_pseudonyms
from storage.releases.promotion import promote
from storage.releases.versions import Version, list_versions, name_of, read_alias
from storage.runtime.processes import HEARTBEAT_S, worker_name
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from storage.taste.examples import Examples
from storage.training.rounds import claim_round, renew_lease, request_round, require_round
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.critic import Critic, describe_fits, gain_of, interval
from tests.benchmarks.people import POLITE, conversations, likes
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.served import AT_ONCE, FIRST_MESSAGE, GUILD, Question, Served, ServedBot, served_bot
from tests.seeding import account, read_voters
from trainer.evaluation.measures import Fit, losses_by_position, surprise_ratio
from trainer.rounds.round import run_round

MEMBERS = [account(days_old=900 + number) for number in range(40)]
COLLUDERS = [account(days_old=2) + number for number in range(15)]
SIBLINGS = 4
HELD_OUT_PROMPTS = 96
EXAMPLES = 5
"""Held-out messages that every row shows with their answers."""
CANDIDATES_AT_ONCE = 4 * AT_ONCE
"""Places and queue of the engine: a busy server would draw fewer candidates."""
SHARED = Path(tempfile.gettempdir()) / "reactune-bench"
"""Keeps the converted models from one run to the next."""
PACKAGES = "torch", "transformers", "trl", "peft"

S = TypeVar("S", bound="Simulation")


@dataclass(frozen=True)
class Community:
    taste: str
    """What members like: a name of the demo's, or "module:function"."""
    votes: int
    """In a round, the brigade's among them."""
    noise: float
    """Share of members' votes that say the opposite of what they mean."""
    seed: int
    brigade: float = 0.0
    """Share of votes by colluding new accounts that want the opposite."""
    single: bool = True
    """One answer to each message, so that there are lone votes alone."""
    is_polite: bool = False
    """Members like nearly everything."""


@dataclass(frozen=True)
class Standing:
    """How one way to answer does on held-out messages."""

    approvals: tuple[float, ...]
    """Mean P(👍) of the answers to each message."""
    losses: list[list[float]]
    """Of the first answers' tokens under the independent model, in nats."""
    fits: list[Fit]
    """Of the first answers to their messages, under the same model."""
    answers: tuple[tuple[str, str], ...]
    """Each message and an answer; all answers to one message are neighbours."""

    @property
    def broken(self) -> list[str]:
        return [answer for _, answer in self.answers if is_degenerate(answer)]

    @property
    def degenerate_share(self) -> float:
        return len(self.broken) / len(self.answers)


def run(
    *,
    taste: str = "short",
    votes: int = 300,
    rounds: int = 3,
    noise: float = 0.0,
    brigade: float = 0.0,
    single: bool = False,
    judge: str = "",
    seed: int = 0,
) -> Row:
    """Simulate `rounds` rounds of `votes` votes and return machine, versions, a row per round, and the summary."""
    began = time.monotonic()
    community = Community(taste, votes, noise, seed, brigade, single)
    with simulation(Simulation, community, judge, basis=Basis.LOCAL) as simulated:
        rows = [simulated.judge_base(), *(simulated.run_round(number) for number in range(1, rounds + 1))]
    about = {"community": asdict(community) | {"rounds": rounds}, "judge": simulated.critic.name}
    return report(rows, _summary(rows, time.monotonic() - began), *PACKAGES, **about)


@contextmanager
def simulation(
    kind: Callable[[Community, ServedBot, str], S], community: Community, judge: str, *, basis: Basis | None = None
) -> Iterator[S]:
    """Let a community meet a bot in a data folder of its own."""
    with workshop() as directory, served_bot(settings_of_bench(directory, community.seed), basis=basis) as bot:
        yield kind(community, bot, judge)


@contextmanager
def workshop() -> Iterator[Path]:
    """Yield a separate data folder whose converted models are shared with other runs."""
    (SHARED / "base").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reactune-community-") as folder:
        (Path(folder) / "base").symlink_to(SHARED / "base")
        yield Path(folder)


def settings_of_bench(directory: Path, seed: int) -> Settings:
    """Return config.toml's settings, with the environment's: REACTUNE_TRAINING__BETA=0.1 tries another beta."""
    fixed = {
        "REACTUNE_DATA__DIRECTORY": str(directory),
        "REACTUNE_DATABASE__URL": "",
        "REACTUNE_GENERATION__BATCH_SIZE": str(CANDIDATES_AT_ONCE),
        "REACTUNE_GENERATION__QUEUE_SIZE": str(CANDIDATES_AT_ONCE),
        "REACTUNE_TRAINING__SEED": str(17 + seed),
        "REACTUNE_TRAINING__THREADS": "0",
    }
    return load_settings(overrides=fixed)


class Simulation:
    at_once = AT_ONCE
    """Messages that are answered before anybody votes on them."""

    def __init__(self, community: Community, bot: ServedBot, judge: str = "") -> None:
        self._community = community
        self._taste = find_taste(community.taste)
        self._bot = bot
        self._settings = bot.services.settings
        self._database = bot.services.database
        self._personality = bot.personality.id
        self._random = random.Random(community.seed)
        talk, self._held_out = self._messages()
        self._talk = iter(talk)
        self.critic = Critic(bot.services.base, self._settings, judge)
        self._base_standing: Standing | None = None
        now = utc_now()
        with self._database.transaction() as session:
            note_members(session, GUILD, dict.fromkeys(MEMBERS, now - timedelta(days=365)))
            note_members(session, GUILD, dict.fromkeys(COLLUDERS, now - timedelta(days=1)))

    def judge_base(self) -> Row:
        began = time.monotonic()
        self._base_standing = self._judge(None)
        return _row(None, self._base_standing, self._base_standing) | {"seconds": time.monotonic() - began}

    def run_round(self, number: int) -> Row:
        """Let members talk and vote, train, promote what does not fail, and judge who answers then."""
        began = time.monotonic()
        self._converse()
        talked = time.monotonic()
        made, described = self._train()
        trained = time.monotonic()
        champion = self._release(made)
        self._bot.learn()
        assert self._base_standing is not None, "the base is judged first"
        row = described | _row(champion, self._judge(champion), self._base_standing)
        notes.print(f"Round {number}: {row['reason']} {row['version']} answers, approval {row['approval']:.0%}.")
        return row | {
            "round": number,
            "seconds": time.monotonic() - began,
            "seconds_talking": talked - began,
            "seconds_training": trained - talked,
        }

    def _messages(self) -> tuple[list[str], list[str]]:
        """Return what members say, and what nobody votes on or trains on, split by conversation."""
        found = conversations()
        self._random.shuffle(found)
        messages = [self._random.choice(conversation) for conversation in found]
        first: dict[str, str] = {}
        for message in messages:
            first.setdefault(message.lower(), message)
        distinct = list(first.values())
        return distinct[HELD_OUT_PROMPTS:], distinct[:HELD_OUT_PROMPTS]

    def _converse(self) -> None:
        """Let the champion answer members, who vote, and the taste learn their votes."""
        community = self._community
        honest = round(community.votes * (1 - community.brigade))
        each = 1 if community.single else SIBLINGS
        asked = [next(self._talk) for _ in range(max(1, honest // each))]
        messages = [message for message in asked for _ in range(each)]
        champion = self._database.fetch(read_alias, self._personality).version
        said: list[Served] = []
        for start in range(0, len(messages), self.at_once):
            questions = [Question(one, self._random.choice(MEMBERS)) for one in messages[start : start + self.at_once]]
            answers = self._bot.ask(questions, champion)
            self._let_vote(
                (one, self._random.choice(MEMBERS), LIKE if self._likes(one.message, one.text) else DISLIKE)
                for one in answers
            )
            said += answers
        self._let_vote(self._collude(said, community.votes - honest))

    def _collude(self, said: Sequence[Served], votes: int) -> Iterator[tuple[Served, int, str]]:
        for number in range(votes):
            one = self._random.choice(said)
            wants = self._random.random() >= self._taste(one.message, one.text)
            yield one, COLLUDERS[number % len(COLLUDERS)], LIKE if wants else DISLIKE

    def _let_vote(self, votes: Iterable[tuple[Served, int, str]]) -> None:
        given = list(votes)
        with self._database.transaction() as session:
            for one, member, emoji in given:
                thumb = Thumb(FIRST_MESSAGE + one.reply_id, member, emoji)
                append_events(session, [VoteEvent(one.reply_id, thumb, added=True)])
        self._bot.note_votes([one.reply_id for one, _, _ in given])

    def _likes(self, message: str, answer: str) -> bool:
        """Return what a member says of the answer."""
        liking = self._taste(message, answer)
        if self._community.is_polite:
            return self._random.random() < POLITE[liking <= 0.5]
        return likes(liking, self._community.noise, self._random)

    def _train(self) -> tuple[Version | None, Row]:
        """Run a round, and return the version that it made, if it made one, and its description."""
        with self._database.transaction() as session:
            request_round(session, self._personality, "the simulation")
            requested = claim_round(session, worker_name(self._settings.data.directory))
        assert requested is not None, "the round was just asked for"
        with _held(self._database, requested.id):
            self._bot.beside(partial(run_round, self._settings, requested.id))
        with self._database.snapshot() as session:
            round_ = require_round(session, requested.id)
            made = next((v for v in list_versions(session, self._personality) if v.round_id == round_.id), None)
            voters = read_voters(session, round_.id)
            colluders = set(map(read_pseudonyms(session).of, COLLUDERS))
        metrics = round_.metrics
        return made, {
            "version_made": made.name if made else None,
            "status": round_.status,
            "reason": round_.reason,
            "verdict": round_.gate.get("verdict"),
            "checks": {check["name"]: check["sentence"] for check in round_.gate.get("checks", [])},
            "pairs": metrics.get("pairs", 0),
            "strength": metrics.get("strength"),
            "lowered_for": metrics.get("lowered_for"),
            "pairs_by_source": round_.learned_from.get("pairs_by_source", {}),
            "votes_removed": round_.learned_from.get("removed_shares", {}),
            "notes": round_.learned_from.get("notes", []),
            "largest_voter_share": max((voter.share for voter in voters), default=0.0),
            "colluders_share": sum(voter.share for voter in voters if voter.pseudonym in colluders),
            "seconds_of_steps": metrics.get("seconds"),
        }

    def _release(self, made: Version | None) -> Version | None:
        """Promote a round's version unless the gate says fail, as an admin would who read its reasons."""
        with self._database.transaction() as session:
            champion = read_alias(session, self._personality)
            if made is None or made.verdict is GateVerdict.FAIL:
                return champion.version
            return promote(
                session,
                self._personality,
                made,
                expected_generation=champion.generation,
                by="the simulation",
                reason="the gate did not say fail",
                override=True,
            ).version

    def _judge(
        self, version: Version | None, *, each: int = 1, shown: Examples | None = None, candidates: int = 0
    ) -> Standing:
        """Judge a version as members are served it, or with `shown` instead of what the base is shown then."""
        asked = [message for message in self._held_out for _ in range(each)]
        said = self._bot.answer(asked, version, shown=shown, candidates=candidates)
        exchanges = [(one.message, one.text) for one in said]
        liked = [self._taste(*exchange) for exchange in exchanges]
        firsts = exchanges[::each]
        return Standing(
            approvals=tuple(fmean(liked[start : start + each]) for start in range(0, len(liked), each)),
            losses=self.critic.losses(firsts),
            fits=self.critic.fits(firsts),
            answers=tuple(exchanges),
        )


def _row(champion: Version | None, standing: Standing, base: Standing) -> Row:
    """Return how the version does that answers, the base where None; of one that nobody promoted it tells nothing."""
    return {
        "version": name_of(champion),
        **describe_way(standing),
        **compare_ways(base, standing, champion),
        **gain_of(base.approvals, standing.approvals),
        "coherence_ratio_whole": _per_token(standing.losses) / _per_token(base.losses),
        "degenerate_share_base": base.degenerate_share,
        "divergence": champion.metrics["divergence"] if champion else 0.0,
    }


def describe_way(way: Standing) -> Row:
    """Return how one way to answer does, by itself."""
    approval, low, high = interval(way.approvals)
    return {
        "approval": approval,
        "approval_low": low,
        "approval_high": high,
        **describe_fits(way.fits),
        "degenerate_share": way.degenerate_share,
        "broken_answers": way.broken,
        "examples": [{"message": message, "answer": answer} for message, answer in way.answers[:EXAMPLES]],
    }


def compare_ways(before: Standing, after: Standing, made: Version | None) -> dict[str, float]:
    """Return what it costs that a version answers, against what was served before."""
    return {
        "fit_ratio": fit_ratio(before, after),
        "coherence_ratio": surprise_ratio(after.losses, losses_by_position(before.losses)),
        "retention_loss_ratio": made.metrics["retention_loss_ratio"] if made else 1.0,
        "degenerate_share": after.degenerate_share,
    }


def fit_ratio(before: Standing, after: Standing) -> float:
    """Return how many times as many answers fit their messages."""
    fit_before, fit_after = (describe_fits(way.fits)["fit_share"] for way in (before, after))
    return fit_after / fit_before if fit_before else float("nan")


def _per_token(losses: Sequence[Sequence[float]]) -> float:
    tokens = [loss for answer in losses for loss in answer]
    return fmean(tokens) if tokens else float("nan")


def _summary(rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    final = rows[-1]
    told = ("gain", "gain_low", "retention_loss_ratio", "coherence_ratio", "coherence_ratio_whole", "fit_ratio")
    return {
        "approval_base": rows[0]["approval"],
        "approval_final": final["approval"],
        **{key: final[key] for key in (*told, "degenerate_share", "degenerate_share_base")},
        "pairs": sum(row.get("pairs", 0) for row in rows),
        "seconds": seconds,
    }


@contextmanager
def _held(database: Database, round_id: int) -> Iterator[None]:
    """Keep renewing the round's lease, as its trainer does."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(HEARTBEAT_S):
            with database.transaction() as session:
                renew_lease(session, round_id)

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
