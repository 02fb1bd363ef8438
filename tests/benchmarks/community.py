"""A simulated server: members with a hidden taste talk, get answers, vote; rounds run; every version is judged.

Storage, pairs, training, gate and aliases are the product's own; only Discord and the members are simulated. The taste
is hidden from everything but the members' thumbs.
"""

from __future__ import annotations

import logging
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from sqlalchemy.orm import Session

from bot.demo.community import Taste, find_taste
from storage.adapters.folder_store import AdapterStore
from storage.conversations.degenerate import is_degenerate
from storage.conversations.replies import FinishedReply, NewReply, add_message, finish_reply, start_reply
from storage.database.database import Database, open_database
from storage.database.enums import CHAMPION, Basis, GateVerdict, Outcome
from storage.emoji import DISLIKE, LIKE
from storage.members import note_members, read_pseudonyms
from storage.models.base_model import BaseModel, load_model, load_tokenizer, resolve_base_model
from storage.models.bundled import resolve_coherence_model
from storage.models.chat_format import load_chat_format
from storage.models.fit import Exchange, Fit, measure_fits
from storage.personalities.personalities import ensure_personality
from storage.releases.promotion import promote
from storage.releases.versions import Version, list_versions, name_of, read_alias
from storage.runtime.processes import HEARTBEAT_S, worker_name
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from storage.training.rounds import Round, claim_round, renew_lease, request_round, require_round
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.report import machine, versions
from tests.seeding import read_voters
from trainer.evaluation.measures import answer_log_probabilities, answer_losses, losses_by_position, surprise_ratio
from trainer.evaluation.sampling import Sample, open_adapter, open_sampler
from trainer.rounds.round import run_round

SYSTEM_PROMPT = "You are Reactune, a friendly member of this Discord server."
GUILD, CHANNEL = 7_001, 7_002
MEMBERS, COLLUDERS = 40, 15
SIBLINGS = 4
HELD_OUT_PROMPTS = 96
EXAMPLES = 5
"""Held-out messages that every row shows with their answers."""
MAX_NEW_TOKENS = 64
MIN_WORDS, MAX_WORDS = 4, 25
DISCORD_EPOCH_MS = 1_420_070_400_000
RESAMPLES = 2_000
SHARED = Path(tempfile.gettempdir()) / "reactune-bench"
"""Keeps the converted models from one run to the next."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Community:
    """Who talks and votes, and how."""

    taste: Taste
    votes: int
    """In a round, the brigade's among them."""
    noise: float
    """Share of members' votes that say the opposite of what they mean."""
    brigade: float
    """Share of votes by colluding new accounts that want the opposite."""
    single: bool
    """One answer to each message, so that there are lone votes alone."""
    seed: int


@dataclass(frozen=True)
class Held:
    """A message nobody trains on, as the model is served it."""

    message: str
    prompt: str


@dataclass(frozen=True)
class Standing:
    """How a version does on held-out messages."""

    approvals: tuple[float, ...]
    """P(👍) of the answer to each message."""
    losses: list[list[float]]
    """Of its answers' tokens under the independent model, in nats."""
    fits: list[Fit]
    """Of its answers to their messages, under the same model."""
    answers: tuple[tuple[str, str], ...]
    """Each message and its answer."""

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
) -> dict[str, Any]:
    """Simulate `rounds` rounds of `votes` votes and return machine, versions, a row per round, and the summary."""
    community = Community(find_taste(taste), votes, noise, brigade, single, seed)
    began = time.monotonic()
    with workshop() as directory:
        simulation = Simulation(community, settings_of_bench(directory, seed), judge)
        rows = [simulation.judge_base(), *(simulation.run_round(number) for number in range(1, rounds + 1))]
    return {
        "machine": machine(),
        "versions": versions("torch", "transformers", "trl", "peft"),
        "community": asdict(community) | {"taste": taste, "rounds": rounds},
        "judge": simulation.critic.name,
        "rows": rows,
        "summary": _summary(rows, time.monotonic() - began),
    }


@contextmanager
def workshop() -> Iterator[Path]:
    """Yield a separate data folder whose converted models are shared with other runs."""
    (SHARED / "base").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reactune-community-") as folder:
        (Path(folder) / "base").symlink_to(SHARED / "base")
        yield Path(folder)


def settings_of_bench(directory: Path, seed: int, max_new_tokens: int = MAX_NEW_TOKENS) -> Settings:
    """Return config.toml's settings, with the environment's: REACTUNE_TRAINING__BETA=0.1 tries another beta."""
    fixed = {
        "REACTUNE_DATA__DIRECTORY": str(directory),
        "REACTUNE_DATABASE__URL": "",
        "REACTUNE_CHAT__SYSTEM_PROMPT": SYSTEM_PROMPT,
        "REACTUNE_GENERATION__MAX_NEW_TOKENS": str(max_new_tokens),
        "REACTUNE_TRAINING__SEED": str(17 + seed),
        "REACTUNE_TRAINING__THREADS": "0",
    }
    return load_settings(overrides=fixed)


class Simulation:
    basis: Basis | None = Basis.LOCAL
    """Whether what members say may be trained on."""

    def __init__(self, community: Community, settings: Settings, judge: str = "") -> None:
        self._community = community
        self._settings = settings
        self._base = resolve_base_model(settings.model.base, settings.data.directory, log.warning)
        self._store = AdapterStore(settings.data.directory / "adapters")
        self._random = random.Random(community.seed)
        self._chat = load_chat_format(self._base.path, settings.model.template_options)
        talk, self._held_out = self._messages()
        self._talk = iter(talk)
        self.critic = Critic(self._base, settings, judge)
        self._base_standing: Standing | None = None
        with closing(open_database(settings)) as database, database.transaction() as session:
            self._personality = ensure_personality(session)
            _settle(session)

    def judge_base(self) -> dict[str, Any]:
        began = time.monotonic()
        self._base_standing = self._judge(None)
        return _row(None, self._base_standing, self._base_standing) | {"seconds": time.monotonic() - began}

    def run_round(self, number: int) -> dict[str, Any]:
        """Let members talk and vote, train, promote what does not fail, and judge who answers then."""
        began = time.monotonic()
        with closing(open_database(self._settings)) as database:
            self._converse(database)
            talked = time.monotonic()
            round_ = self._train(database)
            trained = time.monotonic()
            made = self._made(database, round_)
            champion = self._release(database, made)
            row = self._describe(database, round_) | {"version_made": made.name if made else None}
        assert self._base_standing is not None, "the base is judged first"
        standing = self._judge(champion)
        row |= _row(champion, standing, self._base_standing)
        row |= {
            "round": number,
            "seconds": time.monotonic() - began,
            "seconds_talking": talked - began,
            "seconds_training": trained - talked,
        }
        log.warning("%s", row["reason"])
        log.warning("%s", _line(row))
        return row

    def _messages(self) -> tuple[list[str], list[Held]]:
        """Return what members say, and what nobody trains on, split by conversation."""
        found = conversations()
        self._random.shuffle(found)
        messages = [self._random.choice(conversation) for conversation in found]
        seen: set[str] = set()
        distinct = [m for m in messages if not (m.lower() in seen or seen.add(m.lower()))]  # type: ignore[func-returns-value]
        held_out = [Held(m, self._render(m)) for m in distinct[:HELD_OUT_PROMPTS]]
        return distinct[HELD_OUT_PROMPTS:], held_out

    def _render(self, message: str) -> str:
        return self._chat.render(chat(message))

    def _converse(self, database: Database) -> None:
        """Get answers from the champion and votes from members."""
        community = self._community
        honest = round(community.votes * (1 - community.brigade))
        each = 1 if community.single else SIBLINGS
        asked = [next(self._talk) for _ in range(max(1, honest // each))]
        messages = [message for message in asked for _ in range(each)]
        with database.snapshot() as session:
            champion = read_alias(session, self._personality, CHAMPION).version
        answers = self._answer(champion, [self._render(m) for m in messages], seed=self._random.getrandbits(31))
        with database.transaction() as session:
            replies = [
                self._store_reply(session, message, answer, champion)
                for message, answer in zip(messages, answers, strict=True)
            ]
            said = list(zip(replies, messages, (answer.text for answer in answers), strict=True))
            for reply_id, message, answer in said:
                self._vote(session, reply_id, self._random.choice(members()), self._reaction(message, answer))
            for number in range(community.votes - honest):
                reply_id, message, answer = self._random.choice(said)
                wants = self._random.random() >= community.taste(message, answer)
                self._vote(session, reply_id, _colluders()[number % COLLUDERS], LIKE if wants else DISLIKE)

    def _reaction(self, message: str, answer: str) -> str:
        """Return the emoji that a member gives the answer."""
        return LIKE if self._likes(message, answer) else DISLIKE

    def _likes(self, message: str, answer: str) -> bool:
        likes = self._random.random() < self._community.taste(message, answer)
        return likes != (self._random.random() < self._community.noise)

    def _vote(self, session: Session, reply_id: int, user_id: int, emoji: str) -> None:
        thumb = Thumb(_message_of(reply_id), user_id, emoji)
        append_events(session, [VoteEvent(reply_id, thumb, added=True)])

    def _store_reply(self, session: Session, message: str, answer: Sample, version: Version | None) -> int:
        asker = self._random.choice(members())
        generation = self._settings.generation
        reply_id = start_reply(
            session,
            NewReply(
                personality_id=self._personality,
                version_id=version.id if version else None,
                base_revision=self._base.revision,
                prompt=self._render(message),
                messages=chat(message),
                sampling=generation.model_dump(mode="json", include={"temperature", "top_p", "presence_penalty"}),
                seed=self._community.seed,
                prompt_tokens=len(answer.prompt_ids),
                dropped_turns=0,
                guild_id=GUILD,
                channel_id=CHANNEL,
                author_id=asker,
                source_message_id=None,
                basis=self.basis,
                speakers=[asker],
            ),
        )
        outcome = Outcome.LENGTH if answer.is_cut else Outcome.COMPLETE
        finish_reply(session, reply_id, FinishedReply(answer=answer.text, outcome=outcome))
        add_message(session, reply_id, _message_of(reply_id), CHANNEL, 0)
        return reply_id

    def _train(self, database: Database) -> Round:
        with database.transaction() as session:
            request_round(session, self._personality, "the simulation")
            round_ = claim_round(session, worker_name(self._settings.data.directory))
        assert round_ is not None, "the round was just asked for"
        with _held(database, round_.id):
            run_round(self._settings, round_.id)
        with database.snapshot() as session:
            return require_round(session, round_.id)

    def _made(self, database: Database, round_: Round) -> Version | None:
        """Return the version that the round made, if it made one."""
        with database.snapshot() as session:
            return next((v for v in list_versions(session, self._personality) if v.round_id == round_.id), None)

    def _release(self, database: Database, made: Version | None) -> Version | None:
        """Promote a round's version unless the gate says fail, as an admin would who read its reasons."""
        with database.transaction() as session:
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

    def _describe(self, database: Database, round_: Round) -> dict[str, Any]:
        with database.snapshot() as session:
            voters = read_voters(session, round_.id)
            colluders = set(map(read_pseudonyms(session).of, _colluders()))
        metrics = round_.metrics
        return {
            "status": round_.status,
            "reason": round_.reason,
            "verdict": round_.gate.get("verdict"),
            "checks": {check["name"]: check["sentence"] for check in round_.gate.get("checks", [])},
            "pairs": metrics.get("pairs", 0),
            "strength": metrics.get("strength"),
            "lowered_for": metrics.get("lowered_for"),
            "pairs_by_source": round_.evidence.get("pairs_by_source", {}),
            "votes_removed": round_.evidence.get("removed_shares", {}),
            "notes": round_.evidence.get("notes", []),
            "largest_voter_share": max((voter.share for voter in voters), default=0.0),
            "colluders_share": sum(voter.share for voter in voters if voter.pseudonym in colluders),
            "seconds_of_steps": metrics.get("seconds"),
        }

    def _judge(self, version: Version | None) -> Standing:
        answers = self._answer(version, [held.prompt for held in self._held_out], seed=self._community.seed)
        exchanges = [(held.message, answer.text) for held, answer in zip(self._held_out, answers, strict=True)]
        return Standing(
            approvals=tuple(self._community.taste(message, answer) for message, answer in exchanges),
            losses=self.critic.losses(exchanges),
            fits=self.critic.fits(exchanges),
            answers=tuple(exchanges),
        )

    def _answer(self, version: Version | None, prompts: Sequence[str], seed: int) -> list[Sample]:
        sampler = open_sampler(self._settings, self._base, open_adapter(self._store, version, self._base))
        return sampler.answer(prompts, self._settings.generation, seed)


class Critic:
    """A model that reads answers: the named one; else that of the gate, Gemma 3 270M if installed; else the base."""

    def __init__(self, base: BaseModel, settings: Settings, judge: str = "") -> None:
        name, directory = judge or settings.gate.coherence_model, settings.data.directory
        self._model = resolve_coherence_model(name, directory, log.warning) or base
        self.name = self._model.name

    def losses(self, exchanges: Sequence[Exchange]) -> list[list[float]]:
        return answer_losses(*self._load(), exchanges)

    def fits(self, exchanges: Sequence[Exchange]) -> list[Fit]:
        model, tokenizer = self._load()
        return measure_fits(exchanges, lambda asked: answer_log_probabilities(model, tokenizer, asked))

    def _load(self) -> tuple[Any, Any]:
        return load_model(self._model, "bfloat16"), load_tokenizer(self._model)


def describe_fits(fits: Sequence[Fit]) -> dict[str, float]:
    """Return the share of answers whose own message is the likeliest of six, and the mean fit in nats."""
    return {"fit_share": fmean(fit.is_likeliest for fit in fits), "fit_nats": fmean(fit.nats for fit in fits)}


def conversations() -> list[list[str]]:
    """Return the messages of a usual length of every conversation of the dataset."""
    from chitchat_dataset import Dataset

    found = []
    for _, conversation in sorted(Dataset().items()):
        turns = [" ".join(part["text"].split()) for turn in conversation["messages"] for part in turn[:1]]
        usual = [turn for turn in turns if MIN_WORDS <= len(turn.split()) <= MAX_WORDS]
        if usual:
            found.append(usual)
    return found


def chat(message: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": message}]


def _account(created_at: datetime, number: int) -> int:
    """Return an id that says when the account was made, as Discord's do."""
    return ((round(created_at.timestamp() * 1000) - DISCORD_EPOCH_MS) << 22) + number


_NOW = datetime.now(UTC).replace(microsecond=0)


def members() -> list[int]:
    return [_account(_NOW - timedelta(days=900 + number), number) for number in range(MEMBERS)]


def _colluders() -> list[int]:
    return [_account(_NOW - timedelta(days=2), number) for number in range(COLLUDERS)]


def _settle(session: Session) -> None:
    """Members have been there for a year, the brigade since yesterday."""
    note_members(session, GUILD, dict.fromkeys(members(), _NOW - timedelta(days=365)))
    note_members(session, GUILD, dict.fromkeys(_colluders(), _NOW - timedelta(days=1)))


def _message_of(reply_id: int) -> int:
    return 10**9 + reply_id


def _row(champion: Version | None, standing: Standing, base: Standing) -> dict[str, Any]:
    """Return how the version does that answers, the base where None; of one that nobody promoted it tells nothing."""
    found = champion.metrics if champion else {"retention_loss_ratio": 1.0, "divergence": 0.0}
    approval, low, high = interval(standing.approvals)
    gains = [after - before for after, before in zip(standing.approvals, base.approvals, strict=True)]
    gain, gain_low, gain_high = interval(gains)
    return {
        "version": name_of(champion),
        "approval": approval,
        "approval_low": low,
        "approval_high": high,
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "coherence_ratio": surprise_ratio(standing.losses, losses_by_position(base.losses)),
        "coherence_ratio_whole": _per_token(standing.losses) / _per_token(base.losses),
        **describe_fits(standing.fits),
        "degenerate_share": standing.degenerate_share,
        "degenerate_share_base": base.degenerate_share,
        "broken_answers": standing.broken,
        "examples": [{"message": message, "answer": answer} for message, answer in standing.answers[:EXAMPLES]],
        "retention_loss_ratio": found["retention_loss_ratio"],
        "divergence": found["divergence"],
    }


def _per_token(losses: Sequence[Sequence[float]]) -> float:
    tokens = [loss for answer in losses for loss in answer]
    return fmean(tokens) if tokens else float("nan")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval over messages."""
    import numpy as np

    numbers = np.array(values)
    draws = np.random.default_rng(0).choice(numbers, (RESAMPLES, len(numbers))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(numbers.mean()), float(low), float(high)


def _line(row: dict[str, Any]) -> str:
    return (
        f"round {row['round']} made {row['version_made']}, {row['version']} answers · approval {row['approval']:.0%} "
        f"({row['approval_low']:.0%} to {row['approval_high']:.0%}) · {row['pairs_by_source']} · {row['verdict']} · "
        f"divergence {row['divergence']:.2f} · retention {row['retention_loss_ratio']:.3f} · "
        f"coherence {row['coherence_ratio']:.2f} ({row['coherence_ratio_whole']:.2f} whole) · "
        f"fit {row['fit_share']:.0%} · "
        f"broken {row['degenerate_share']:.0%} (base {row['degenerate_share_base']:.0%}) · {row['seconds']:.0f} s"
    )


def _summary(rows: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    base, final = rows[0], rows[-1]
    return {
        "approval_base": base["approval"],
        "approval_final": final["approval"],
        "gain": final["gain"],
        "gain_low": final["gain_low"],
        "retention_loss_ratio": final["retention_loss_ratio"],
        "coherence_ratio": final["coherence_ratio"],
        "coherence_ratio_whole": final["coherence_ratio_whole"],
        "fit_ratio": final["fit_share"] / base["fit_share"],
        "degenerate_share": final["degenerate_share"],
        "degenerate_share_base": final["degenerate_share_base"],
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
