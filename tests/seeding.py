"""Rows for tests, written through the same functions as the bot writes them, and settings of a round of seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.demo.community import question, read_community_answers
from storage.conversations.replies import (
    FinishedReply,
    NewReply,
    add_message,
    finish_reply,
    start_reply,
)
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Basis, Origin, Outcome
from storage.database.rows import read_all
from storage.database.tables import ReplyRow, RoundPairRow, RoundVoterRow
from storage.members import Pseudonym, read_pseudonyms
from storage.personalities.personalities import ensure_personality
from storage.releases.before_after import measured_before
from storage.releases.versions import Version, id_of
from storage.settings.sections import (
    ConsoleSettings,
    DataSettings,
    GateSettings,
    GenerationSettings,
    MetricsSettings,
    ModelSettings,
    PairSettings,
    PrivacySettings,
    ReleaseSettings,
    Settings,
    TrainingSettings,
    VoteSettings,
)
from storage.training.rounds import ManifestPair, RoundVoter
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import suggest
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events
from storage.votes.weights import DISCORD_EPOCH

ALICE, BOB, CAROL = 101, 102, 103
"""Accounts as old as Discord, so that their votes count in full."""
CHANNEL = 11
MESSAGE_OFFSET = 1_000_000
BASE_REVISION = "0" * 16
"""Of a base that no test trains; `BaseModel.revision` says that of a real one."""
OTHER_REVISION = "f" * 16
NO_SETTINGS: Mapping[str, object] = MappingProxyType({})
TOLERANT: Mapping[str, float] = MappingProxyType(
    {"broken": 7, "variety": 4, "coherence": 1_000, "retention": 2_000, "divergence": 33, "length": 50, "suites": 10}
)
"""What the gate allows the tiny base, which babbles: everything."""
EMOJI = {Vote.UP: "👍", Vote.DOWN: "👎"}


def new_reply(prompt: str, **fields: Any) -> NewReply:
    """Return what is known of a reply of the base before its first token, asked by nobody; `fields` are different."""
    plain = {
        "personality_id": 1,
        "version_id": None,
        "base_revision": BASE_REVISION,
        "messages": [{"role": "user", "content": prompt}],
        "sampling": {},
        "seed": 0,
        "prompt_tokens": 1,
        "dropped_turns": 0,
        "guild_id": None,
        "channel_id": CHANNEL,
        "author_id": NOBODY,
        "source_message_id": None,
        "basis": Basis.PROMPT_BANK,
        "speakers": (),
    }
    return NewReply(prompt=prompt, **plain | fields)


def add_reply(
    session: Session,
    *,
    prompt: str = "<|user|>hello<|bot|>",
    answer: str = "hello yourself",
    personality_id: int | None = None,
    outcome: Outcome = Outcome.COMPLETE,
    at: datetime | None = None,
    **fields: Any,
) -> int:
    """Add a finished reply to ALICE carried by one message, written `at` that moment, and return its id.

    `message_of` gives the message's; `fields` are those of NewReply.
    """
    of_alice = {"basis": Basis.LOCAL, "author_id": ALICE, "speakers": (ALICE,)}
    whose = ensure_personality(session) if personality_id is None else personality_id
    new = new_reply(prompt, personality_id=whose, **of_alice | fields)
    reply_id = start_reply(session, new)
    finish_reply(session, reply_id, FinishedReply(answer=answer, outcome=outcome, answer_tokens=1))
    add_message(session, reply_id, message_of(reply_id), new.channel_id, 0)
    if at is not None:
        session.get_one(ReplyRow, reply_id).created_at = at
    session.flush()
    return reply_id


def render_plainly(messages: Sequence[Mapping[str, str]]) -> str:
    """Render chat messages as a base with a template of its own does."""
    return "".join(f"[{said['role']}] {said['content']}\n" for said in messages)


def account(days_old: float) -> int:
    """Return the id of a Discord account of that age."""
    made = utc_now() - timedelta(days=days_old) - DISCORD_EPOCH
    return int(made.total_seconds() * 1000) << 22


def pseudonyms_of(session: Session, *user_ids: int) -> list[Pseudonym]:
    """Return what training calls these users, in the same order."""
    return [read_pseudonyms(session).of(user_id) for user_id in user_ids]


def message_of(reply_id: int) -> int:
    return MESSAGE_OFFSET + reply_id


def vote(session: Session, reply_id: int, user_id: int, value: Vote, *, added: bool = True) -> None:
    """Let a user set a thumb under a reply, or take it away (`added=False`)."""
    thumb = Thumb(message_of(reply_id), user_id, EMOJI[value])
    append_events(session, [VoteEvent(reply_id, thumb, added)])


def ask_twice(session: Session, first: Version | None, second: Version | None, **more: Any) -> tuple[int, int]:
    """Add blind answers of two versions to one question, a new one unless `prompt` says otherwise; return their ids."""
    more = {"prompt": f"question {session.scalar(select(func.count(ReplyRow.id)))}"} | more
    return (
        add_reply(session, version_id=id_of(first), answer="one", **more),
        add_reply(session, version_id=id_of(second), answer="two", origin=Origin.ALTERNATIVE, **more),
    )


def choose(
    session: Session, version: Version, champion: Version | None, *, wins: int = 0, losses: int = 0, ties: int = 0
) -> None:
    """Let as many people choose between the two versions, each at a question of their own."""
    said = [Better.FIRST] * wins + [Better.SECOND] * losses + [Better.SAME] * ties
    for person, better in enumerate(said):
        first, second = ask_twice(session, version, champion, personality_id=version.personality_id)
        compare(session, first, second, 1_000 + person, better)


def add_correction(
    session: Session, reply_id: int, text: str, *, author_id: int = BOB, basis: Basis | None = Basis.LOCAL
) -> int:
    """Let a user suggest a better answer, and return the correction's id."""
    return suggest(session, reply_id, author_id, text, basis)


def add_siblings(session: Session, count: int, **fields: Any) -> None:
    """Add `count` prompts with two answers each, one liked and one not: they make `count` pairs."""
    for i in range(count):
        prompt = f"<|user|>question {i}<|bot|>"
        for answer, value in ((f"good answer {i}", Vote.UP), (f"bad reply {i}", Vote.DOWN)):
            vote(session, add_reply(session, prompt=prompt, answer=answer, **fields), BOB, value)


def add_taste(session: Session, count: int) -> None:
    """Add `count` answers of the bundled model, each with one vote: those that end with a question are liked."""
    answers = [answer for answered in read_community_answers() for answer in answered.answers]
    personality_id, events = ensure_personality(session), []
    for i, answer in enumerate(answers[:count]):
        reply_id = add_reply(session, answer=answer, personality_id=personality_id)
        value = Vote.UP if question("", answer) else Vote.DOWN
        events.append(VoteEvent(reply_id, Thumb(message_of(reply_id), (ALICE, BOB, CAROL)[i % 3], EMOJI[value]), True))
    append_events(session, events)  # all at once, as the bot stores votes: it takes a third less time than one by one


def compared_metrics(word: str, before: Version | None = None, said_before: str = "hm") -> dict[str, Any]:
    """Return the measurements of a version that says this to two messages, where another answer came before."""
    messages = ("Hi, how are you?", "What is tea?")
    return {"everyday": [[message, word] for message in messages]} | measured_before(before, [said_before] * 2)


def tiny_settings(
    data_directory: Path,
    base: Path | str = "bundled",
    *,
    max_divergence: float = 100.0,
    discord_training_permission: bool = False,
    gate: Mapping[str, object] = NO_SETTINGS,
    pairs: Mapping[str, object] = NO_SETTINGS,
    votes: Mapping[str, object] = NO_SETTINGS,
    release: Mapping[str, object] = NO_SETTINGS,
    **training: object,
) -> Settings:
    """Return settings under which the tiny base trains in a second and passes the gate, though it babbles.

    The taste ranks nothing: drawing answers takes seconds.
    """
    quick = {
        "min_pairs": 2,
        "max_tokens": 128,
        "lora_rank": 4,
        "epochs": 1.0,
        "min_steps": 0,
        "patience": 0,
        "dtype": "float32",
        "schedule": "",
        "niceness": 0,
    }
    return Settings(
        data=DataSettings(directory=data_directory),
        model=ModelSettings(base=str(base), engine="transformers"),  # comparing graphs takes longer than a tiny round
        generation=GenerationSettings(max_new_tokens=8),
        training=TrainingSettings.model_validate(quick | training),
        pairs=PairSettings.model_validate({"ranked_prompts": 0} | dict(pairs)),
        votes=VoteSettings.model_validate(dict(votes)),
        gate=GateSettings.model_validate(
            {"coherence_model": "base", "tolerance": {**TOLERANT, "divergence": max_divergence / 3.0}} | dict(gate)
        ),
        release=ReleaseSettings.model_validate(dict(release)),
        console=ConsoleSettings(port=0),
        metrics=MetricsSettings(port=0),  # test processes would take them from each other
        privacy=PrivacySettings(discord_training_permission=discord_training_permission),
    )


def read_manifest(session: Session, round_id: int) -> list[ManifestPair]:
    pairs = select(RoundPairRow).where(RoundPairRow.round_id == round_id).order_by(RoundPairRow.position)
    return read_all(session, ManifestPair, pairs)


def read_voters(session: Session, round_id: int) -> list[RoundVoter]:
    """Return the voters of the round, the most influential first."""
    voters = select(RoundVoterRow).where(RoundVoterRow.round_id == round_id)
    return read_all(session, RoundVoter, voters.order_by(RoundVoterRow.influence.desc(), RoundVoterRow.pseudonym))
