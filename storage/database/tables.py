"""The tables: personalities, versions, answers, votes, corrections, rounds, releases, documents and operations."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from storage.database.columns import (
    MEMBER,
    PSEUDONYM,
    SERVER,
    Fate,
    LargeId,
    SentenceJson,
    SentenceText,
    UtcDateTime,
    utc_now,
)
from storage.database.enums import (
    NOBODY,
    ArenaStatus,
    AuditOutcome,
    Basis,
    Cause,
    DocumentKind,
    GateVerdict,
    Label,
    Origin,
    Outcome,
    PairChoice,
    PairSource,
    QuarantineRule,
    QuarantineStatus,
    RoundStatus,
    Scope,
    Split,
    TrainingSource,
)


def _values(members: type[enum.Enum]) -> list[str]:
    return [member.value for member in members]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[dict[str, str]]: JSON,
        list[dict[str, int]]: JSON,
        list[float]: JSON,
        list[int]: JSON,
        # By value in text columns; only SQLAlchemy checks the values.
        enum.Enum: Enum(enum.Enum, native_enum=False, length=32, values_callable=_values),
    }


class PersonalityRow(Base):
    __tablename__ = "personalities"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    card: Mapped[dict[str, Any]] = mapped_column(default=dict)
    file_digest: Mapped[str | None] = mapped_column(String(64))
    """Digest of the card file as last loaded; null for a personality without a file."""
    guild_id: Mapped[int | None] = mapped_column(BigInteger, info={SERVER: Fate.KEPT})
    """The server whose admins created it and can change it; null for the operator's, which every server can use."""
    picture_digest: Mapped[str | None] = mapped_column(String(64))
    """Digest of the personality's picture; null without one."""
    archived_at: Mapped[datetime | None]
    follows_taste: Mapped[bool] = mapped_column(default=True)
    """True if members' taste acts on its answers and rounds; an admin can switch that off."""
    told_of_choosing: Mapped[bool] = mapped_column(default=False)
    told_of_teaching: Mapped[bool] = mapped_column(default=False)
    """True once people were told that their taste acts: it chooses among answers and teaches the base and versions."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class PictureRow(Base):
    """A personality's picture, as a small PNG file."""

    __tablename__ = "pictures"

    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class WebhookRow(Base):
    """A webhook that the bot made; it stays when the webhook is deleted, because its messages stay too."""

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    channel_id: Mapped[int] = mapped_column(BigInteger, index=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    picture_digest: Mapped[str | None] = mapped_column(String(64))


class CardRevisionRow(Base):
    """A version of a card; every change adds one, so no text is lost."""

    __tablename__ = "card_revisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"), index=True)
    card: Mapped[dict[str, Any]]
    changed_by: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[datetime] = mapped_column(default=utc_now)


class BindingRow(Base):
    """The personality that answers in a place, and the strength of its adapter there."""

    __tablename__ = "bindings"

    scope: Mapped[Scope] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    guild_id: Mapped[int] = mapped_column(BigInteger, info={SERVER: Fate.GONE})
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"), index=True)
    strength: Mapped[float] = mapped_column(default=1.0)
    bound_by: Mapped[str] = mapped_column(String(64))
    bound_at: Mapped[datetime] = mapped_column(default=utc_now)


class ServerRow(Base):
    """A server's choices with `/setup`; a server without a row has the operator's settings."""

    __tablename__ = "servers"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={SERVER: Fate.GONE})
    choices: Mapped[dict[str, Any]]
    generation: Mapped[int]
    """Counts the changes, so that only one of two admins who finish at once wins."""
    chosen_by: Mapped[str] = mapped_column(String(64))
    chosen_at: Mapped[datetime]


class VersionRow(Base):
    """An immutable adapter; its files are complete before this row exists."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("personality_id", "number"),
        CheckConstraint("number > 0", name="number"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    number: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    base_name: Mapped[str] = mapped_column(Text)
    base_revision: Mapped[str] = mapped_column(String(64))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id", deferrable=True))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id"))
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    verdict: Mapped[GateVerdict] = mapped_column(default=GateVerdict.PASS)
    contest: Mapped[dict[str, Any]] = mapped_column(SentenceJson, default=dict)
    """People's choices between it and the champion at the last look, and the reason if they decided."""
    decided_at: Mapped[datetime | None]
    """The time when people's choices made it ready, or dropped it."""
    announced: Mapped[bool] = mapped_column(default=False)
    trained_on_deleted_data: Mapped[bool] = mapped_column(default=False)
    withdrawn_at: Mapped[datetime | None]
    """The time when its files were removed; the row and its manifest are kept."""
    withdrawn_because: Mapped[str] = mapped_column(SentenceText, default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class BaseUseRow(Base):
    """A base model that answers from its time until the next row's; append-only."""

    __tablename__ = "base_uses"

    id: Mapped[int] = mapped_column(primary_key=True)
    setting: Mapped[str] = mapped_column(Text)
    """The value of model.base."""
    name: Mapped[str] = mapped_column(Text)
    revision: Mapped[str] = mapped_column(String(64))
    begun_by: Mapped[str] = mapped_column(String(64))
    begun_at: Mapped[datetime] = mapped_column(default=utc_now)


class AliasRow(Base):
    """A movable name for a version; null is the base model without an adapter."""

    __tablename__ = "aliases"

    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    generation: Mapped[int] = mapped_column(default=0)


class AliasMoveRow(Base):
    """One move of an alias; append-only."""

    __tablename__ = "alias_moves"
    __table_args__ = (UniqueConstraint("personality_id", "alias", "generation"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    alias: Mapped[str] = mapped_column(String(32))
    generation: Mapped[int]
    from_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    to_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    moved_by: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(SentenceText)
    overrides_gate: Mapped[bool] = mapped_column(default=False)
    announced: Mapped[bool] = mapped_column(default=False)
    moved_at: Mapped[datetime] = mapped_column(default=utc_now)


class ReplyRow(Base):
    """One answer and everything needed to reproduce it."""

    __tablename__ = "replies"
    __table_args__ = (
        Index("ix_replies_prompt", "personality_id", "prompt_digest"),
        Index("ix_replies_channel", "channel_id", "id"),
        Index("ix_replies_guild", "guild_id", "id"),
        Index("ix_replies_summary", "channel_id", "summary_to"),
        Index("ix_replies_origin", "personality_id", "origin", "id"),
        Index("ix_replies_source_message", "source_message_id"),
        Index("ix_replies_author", "author_id", "guild_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(LargeId, primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    strength: Mapped[float] = mapped_column(default=1.0)
    """Scale of the adapter's effect; 1 is as trained."""
    base_revision: Mapped[str] = mapped_column(String(64))
    prompt: Mapped[str] = mapped_column(Text)
    prompt_digest: Mapped[str] = mapped_column(String(64))
    messages: Mapped[list[dict[str, str]]]
    answer: Mapped[str] = mapped_column(Text, default="")
    sampling: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    outcome: Mapped[Outcome] = mapped_column(default=Outcome.STREAMING)
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    answer_tokens: Mapped[int] = mapped_column(default=0)
    dropped_turns: Mapped[int] = mapped_column(default=0)
    queued_s: Mapped[float | None]
    first_token_s: Mapped[float | None]
    total_s: Mapped[float | None]
    guild_id: Mapped[int | None] = mapped_column(BigInteger, info={SERVER: Fate.GONE})
    channel_id: Mapped[int] = mapped_column(BigInteger)
    author_id: Mapped[int] = mapped_column(BigInteger, info={MEMBER: Fate.UNNAMED})
    source_message_id: Mapped[int | None] = mapped_column(BigInteger)
    basis: Mapped[Basis | None]
    origin: Mapped[Origin] = mapped_column(default=Origin.CHAT)
    retrieved: Mapped[list[dict[str, int]]] = mapped_column(default=list)
    """The passages quoted in the prompt, in order, by chunk_id and, as chunks can be deleted, by document_id."""
    summary_from: Mapped[int | None] = mapped_column(BigInteger)
    summary_to: Mapped[int | None] = mapped_column(BigInteger)
    """Ids of the first and last message that the prompt's summary covers; null without a summary."""
    has_outside_text: Mapped[bool] = mapped_column(default=False)
    """True if the prompt holds a picture's description, a web page or a member's note; it is never trained on."""
    edited_at: Mapped[datetime | None]
    """The time when a message in the prompt was edited; since then it is neither answered again nor trained on."""
    undelivered: Mapped[str | None] = mapped_column(Text)
    """Small print of an answer whose end Discord has not accepted yet; null once it has."""
    request_id: Mapped[str | None] = mapped_column(String(16), index=True)
    """The request that it answers; log lines and error messages to members show this id."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class ReplyIdRow(Base):
    """The highest id that an answer ever had; the table has one row."""

    __tablename__ = "reply_ids"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    highest: Mapped[int] = mapped_column(LargeId, default=0)


class AnsweredQuestionRow(Base):
    """A message whose answer was deleted in the last hour or so: a restart must not answer it again."""

    __tablename__ = "answered_questions"

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    deleted_at: Mapped[datetime] = mapped_column(default=utc_now)


class ReplyMessageRow(Base):
    """A Discord message with (part of) a reply."""

    __tablename__ = "reply_messages"

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int]


class ReplyMeasuresRow(Base):
    """Style measures of an answer, computed from the answer alone."""

    __tablename__ = "reply_measures"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[str] = mapped_column(String(12))
    """The set of measures; numbers of different sets are never mixed."""
    numbers: Mapped[bytes] = mapped_column(LargeBinary)
    """The measures as little-endian float32."""
    relevance: Mapped[float | None] = mapped_column(default=None)
    """The answer's relevance to its message, as in `storage.taste.relevance`; only of answers that a round ranked."""


class ReplyChoiceRow(Base):
    """The choice of an answer among several candidates."""

    __tablename__ = "reply_choices"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    utilities: Mapped[list[float]]
    """The taste model's utility of each candidate."""
    shown: Mapped[int]
    """The index of the shown candidate."""
    propensity: Mapped[float]
    """Probability of showing this candidate, given the candidates."""


class ReplySpeakerRow(Base):
    """A person quoted in a reply's prompt; their consent and deletion apply to the reply."""

    __tablename__ = "reply_speakers"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, info={MEMBER: Fate.SPEAKS})


class ReplySourceRow(Base):
    """A Discord message quoted in a reply's prompt; deleting the message deletes the reply."""

    __tablename__ = "reply_sources"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    user_id: Mapped[int] = mapped_column(BigInteger, default=NOBODY, info={MEMBER: Fate.SPEAKS_TOO})
    """The message's author; NOBODY for the bot's own answers, and for the source messages of a quoted document."""


class VoteEventRow(Base):
    """A thumb that was added or removed; append-only. The latest row of a thumb shows whether it is there now."""

    __tablename__ = "vote_events"
    __table_args__ = (
        Index("ix_vote_events_thumb", "reply_id", "user_id", "message_id", "emoji", "burst", "id", "added"),
    )

    id: Mapped[int] = mapped_column(LargeId, primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"))
    message_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger, index=True, info={MEMBER: Fate.GONE})
    emoji: Mapped[str] = mapped_column(String(32))
    """The emoji as Discord spells it; for a server's own emoji, its ID."""
    burst: Mapped[bool]
    added: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ComparisonRow(Base):
    """A member's choice between two blind answers to one question; null is "about the same"."""

    __tablename__ = "comparisons"

    first_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    second_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True, index=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, info={MEMBER: Fate.GONE})
    better_id: Mapped[int | None] = mapped_column(LargeId)
    by_admin: Mapped[bool] = mapped_column(default=False)
    """True if the member was an admin when choosing: admins have a verdict of their own."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SittingRow(Base):
    """One person compares pairs of answers, one after another; NOBODY's pairs are for the next visitor."""

    __tablename__ = "sittings"
    __table_args__ = (Index("ix_sittings_person", "personality_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    user_id: Mapped[int] = mapped_column(BigInteger, info={MEMBER: Fate.GONE})
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]


class SittingPairRow(Base):
    """Two answers to one prompt, and the person's choice between them."""

    __tablename__ = "sitting_pairs"

    id: Mapped[int] = mapped_column(primary_key=True)
    sitting_id: Mapped[int] = mapped_column(ForeignKey("sittings.id", ondelete="CASCADE"), index=True)
    prompt: Mapped[str] = mapped_column(Text)
    first_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)
    second_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)
    chosen_by: Mapped[PairChoice]
    label: Mapped[Label | None]
    labelled_at: Mapped[datetime | None]
    """The time of the label; null before it, and for an outdated pair, which is marked as skipped."""


class OwnPromptRow(Base):
    """A prompt that somebody added for sittings; they use it before the prompt bank."""

    __tablename__ = "own_prompts"
    __table_args__ = (UniqueConstraint("personality_id", "digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    text: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of its words, so that none is stored twice."""
    added_by: Mapped[str] = mapped_column(String(64))
    added_at: Mapped[datetime] = mapped_column(default=utc_now)


class ConsoleSessionRow(Base):
    """A visitor of the console, or a link that signs one in, once; only the digest of its secret is stored."""

    __tablename__ = "console_sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, index=True, info={MEMBER: Fate.GONE})
    name: Mapped[str] = mapped_column(String(64))
    is_link: Mapped[bool]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    servers: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    """Servers that the visitor administered at the Discord sign-in; null for the operator's links, which open all."""


class VoteCauseRow(Base):
    """A member's reason for a 👎; it counts as long as they keep their 👎, and alone if the answer takes no votes."""

    __tablename__ = "vote_causes"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, info={MEMBER: Fate.GONE})
    cause: Mapped[Cause]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    settled_by: Mapped[str | None] = mapped_column(String(64))
    """The admin who added a document for it, or decided that none is needed."""


class CorrectionRow(Base):
    __tablename__ = "corrections"

    id: Mapped[int] = mapped_column(primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[int] = mapped_column(BigInteger, index=True, info={MEMBER: Fate.GONE})
    text: Mapped[str] = mapped_column(Text)
    basis: Mapped[Basis | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    withdrawn_at: Mapped[datetime | None]


class RoundRow(Base):
    """One training run, from the request to its outcome."""

    __tablename__ = "rounds"
    __table_args__ = (
        Index("ix_rounds_status", "status", "id"),
        Index(
            "ix_rounds_shown",
            "progress_message_id",
            sqlite_where=text("progress_message_id IS NOT NULL"),
            postgresql_where=text("progress_message_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    learns_from: Mapped[TrainingSource] = mapped_column(default=TrainingSource.VOTES)
    status: Mapped[RoundStatus] = mapped_column(default=RoundStatus.REQUESTED)
    requested_by: Mapped[str] = mapped_column(String(64))
    requested_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[datetime | None]
    """The end of the worker's hold on the running round, by the database's clock; after it, others can take over."""
    parent_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id", use_alter=True, deferrable=True))
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    manifest_digest: Mapped[str | None] = mapped_column(String(64))
    learned_from: Mapped[dict[str, Any]] = mapped_column(SentenceJson, default=dict)
    """Counts of pairs by source and of votes that rules removed, and notes about them; no names or ids."""
    gate: Mapped[dict[str, Any]] = mapped_column(SentenceJson, default=dict)
    """The gate's verdict and its checks, each with an outcome and a sentence."""
    progress_channel_id: Mapped[int | None] = mapped_column(BigInteger)
    progress_message_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(SentenceText, default="")


class RoundPairRow(Base):
    """A line of a round's manifest: the rows on each side of a pair."""

    __tablename__ = "round_pairs"

    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[PairSource]
    split: Mapped[Split]
    weight: Mapped[float]
    chosen_reply_id: Mapped[int | None] = mapped_column(ForeignKey("replies.id", ondelete="SET NULL"), index=True)
    rejected_reply_id: Mapped[int | None] = mapped_column(ForeignKey("replies.id", ondelete="SET NULL"), index=True)
    correction_id: Mapped[int | None] = mapped_column(ForeignKey("corrections.id", ondelete="SET NULL"), index=True)


class ConsentRow(Base):
    """A member who allows training on their live messages; no row means no."""

    __tablename__ = "consents"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={MEMBER: Fate.GONE})
    given_at: Mapped[datetime] = mapped_column(default=utc_now)


class OptOutRow(Base):
    """A member whose reactions the bot must not learn from; no row means that it may."""

    __tablename__ = "opt_outs"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={MEMBER: Fate.KEPT})
    since: Mapped[datetime] = mapped_column(default=utc_now)


class ErasureRow(Base):
    """The last time when a member deleted their data, so that their reactions on Discord are not stored again."""

    __tablename__ = "erasures"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={MEMBER: Fate.KEPT})
    erased_at: Mapped[datetime]


class GreetingRow(Base):
    """A member who has received the notice about stored data."""

    __tablename__ = "greetings"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={MEMBER: Fate.GONE})
    greeted_at: Mapped[datetime] = mapped_column(default=utc_now)


class DepartureRow(Base):
    """A member who left a server, or (NOBODY) a server that the bot left. Their data expires, see privacy/retention."""

    __tablename__ = "departures"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={SERVER: Fate.GONE})
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={MEMBER: Fate.GONE})
    left_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class ConversationRow(Base):
    """Data about a channel's conversation in addition to its messages."""

    __tablename__ = "conversations"

    channel_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    summary: Mapped[str] = mapped_column(Text, default="")
    summarised_from: Mapped[int] = mapped_column(BigInteger, default=0)
    """Id of the first message that the summary covers."""
    summarised_to: Mapped[int] = mapped_column(BigInteger, default=0)
    forgotten_to: Mapped[int] = mapped_column(BigInteger, default=0)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class ConversationSpeakerRow(Base):
    """A person whose messages a conversation's summary covers; their consent and deletion apply to the summary."""

    __tablename__ = "conversation_speakers"

    channel_id: Mapped[int] = mapped_column(
        ForeignKey("conversations.channel_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, info={MEMBER: Fate.SPEAKS})


class MemberNoteRow(Base):
    """A member's note about themselves, for the bot."""

    __tablename__ = "member_notes"
    # An answer that begins looks for the notes in its prompt, so the id of a deleted note must not be reused.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, index=True, info={MEMBER: Fate.GONE})
    guild_id: Mapped[int | None] = mapped_column(BigInteger, info={SERVER: Fate.GONE})
    """The server where it is used; 0 for direct messages, null for everywhere, as in earlier releases."""
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ReplyNoteRow(Base):
    """A note in a reply's prompt; deleting the note deletes the reply."""

    __tablename__ = "reply_notes"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    note_id: Mapped[int] = mapped_column(
        ForeignKey("member_notes.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class FactQuestionRow(Base):
    """A fact that a member was asked to let the bot keep, and is not asked again; none of its words are stored."""

    __tablename__ = "fact_questions"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={MEMBER: Fate.GONE})
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A keyed hash of the fact."""
    asked_at: Mapped[datetime] = mapped_column(default=utc_now)


class NoteOptOutRow(Base):
    """A member who must not be asked to let the bot keep facts; no row means that it may ask."""

    __tablename__ = "note_opt_outs"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={MEMBER: Fate.KEPT})
    since: Mapped[datetime] = mapped_column(default=utc_now)


class HeartbeatRow(Base):
    """The last heartbeat of a process on one machine."""

    __tablename__ = "heartbeats"

    process: Mapped[str] = mapped_column(String(32), primary_key=True)
    worker: Mapped[str] = mapped_column(String(255), primary_key=True)
    beat_at: Mapped[datetime]


class AlertRow(Base):
    """A problem that is announced to admins once when it starts and once when it ends."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_open",
            "scope",
            "key",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(String(255))
    """The affected installation, named as in heartbeats; empty if all that share the database are affected."""
    key: Mapped[str] = mapped_column(String(128))
    message: Mapped[str] = mapped_column(SentenceText)
    remedy: Mapped[str] = mapped_column(SentenceText)
    raised_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]
    announced: Mapped[bool] = mapped_column(default=False)
    end_announced: Mapped[bool] = mapped_column(default=False)


class ScheduleRow(Base):
    """The time up to which a schedule was checked, by the database's clock; the process that moves it does the work."""

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    seen_until: Mapped[datetime]


class RoundVoterRow(Base):
    """A voter's share of a round's weight, and their influence: the share of it that would change without them."""

    __tablename__ = "round_voters"

    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True)
    pseudonym: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, info={PSEUDONYM: Fate.GONE})
    share: Mapped[float]
    influence: Mapped[float]


class PseudonymKeyRow(Base):
    """The key of the pseudonyms: one row, created with the schema. With it, pseudonyms can be traced to members."""

    __tablename__ = "pseudonym_keys"
    __table_args__ = (CheckConstraint("id = 1", name="only"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[bytes] = mapped_column(LargeBinary)


class MemberRow(Base):
    """The start of a voter's membership of a server, according to Discord; their votes' weight depends on it."""

    __tablename__ = "members"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info={SERVER: Fate.GONE})
    user_id: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, index=True, info={MEMBER: Fate.GONE}
    )
    joined_at: Mapped[datetime]


class QuarantineRow(Base):
    """A burst of votes that an admin must decide on, or has decided on."""

    __tablename__ = "quarantines"
    __table_args__ = (Index("ix_quarantines_status", "personality_id", "status"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    rule: Mapped[QuarantineRule]
    subject_id: Mapped[int] = mapped_column(BigInteger, info={MEMBER: Fate.UNNAMED})
    """Id of the reply, of the member whom the replies answer, or of the version (0 is the base)."""
    vote: Mapped[str] = mapped_column(String(8))
    first_vote_at: Mapped[datetime]
    last_vote_at: Mapped[datetime]
    status: Mapped[QuarantineStatus] = mapped_column(default=QuarantineStatus.OPEN)
    opened_at: Mapped[datetime] = mapped_column(default=utc_now)
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(Text, default="")


class QuarantinedVoteRow(Base):
    """One vote of a quarantined burst."""

    __tablename__ = "quarantined_votes"

    quarantine_id: Mapped[int] = mapped_column(ForeignKey("quarantines.id", ondelete="CASCADE"), primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True, index=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, info={MEMBER: Fate.GONE})


class ArenaRow(Base):
    """A prompt with blind answers for members to choose from."""

    __tablename__ = "arenas"
    __table_args__ = (Index("ix_arenas_status", "status", "closes_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    guild_id: Mapped[int | None] = mapped_column(BigInteger, info={SERVER: Fate.GONE})
    channel_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    prompt: Mapped[str] = mapped_column(Text)
    status: Mapped[ArenaStatus] = mapped_column(default=ArenaStatus.PREPARING)
    started_by: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    closes_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(SentenceText, default="")


class ArenaAnswerRow(Base):
    """An answer in an arena; positions are random and start at 1."""

    __tablename__ = "arena_answers"

    arena_id: Mapped[int] = mapped_column(ForeignKey("arenas.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)


class DocumentRow(Base):
    """A server's document; a removed one keeps its title for earlier citations, unless it was made of messages."""

    __tablename__ = "documents"
    __table_args__ = (Index("ix_documents_guild", "guild_id", "removed_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    guild_id: Mapped[int] = mapped_column(BigInteger, info={SERVER: Fate.GONE})
    channel_id: Mapped[int | None] = mapped_column(BigInteger)
    """The channel that it is limited to, with its threads; null means the whole server."""
    personality_id: Mapped[int | None] = mapped_column(ForeignKey("personalities.id"))
    """The personality that it is limited to; null means all of them."""
    title: Mapped[str] = mapped_column(Text)
    kind: Mapped[DocumentKind]
    link: Mapped[str] = mapped_column(Text, default="")
    media_type: Mapped[str] = mapped_column(String(128))
    text: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the text, to detect duplicates; empty if the document was removed."""
    revision: Mapped[int] = mapped_column(default=1)
    """Increases with every change of the chunks, so that an index in memory can tell that it is stale."""
    added_by: Mapped[str] = mapped_column(String(64))
    added_at: Mapped[datetime] = mapped_column(default=utc_now)
    refreshed_at: Mapped[datetime] = mapped_column(default=utc_now)
    removed_at: Mapped[datetime | None]


class DocumentSpeakerRow(Base):
    """A member whose messages a document contains; their consent and deletion apply to the document."""

    __tablename__ = "document_speakers"

    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, info={MEMBER: Fate.SPEAKS})


class DocumentSourceRow(Base):
    """A Discord message that a document was made from; deleting the message deletes the document."""

    __tablename__ = "document_sources"

    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    channel_id: Mapped[int] = mapped_column(BigInteger, index=True)


class ChunkRow(Base):
    """A passage of a document. Each database also has a word index of it, outside these models."""

    __tablename__ = "chunks"
    # Replies refer to the chunks that they quoted, so the id of a deleted chunk must not be reused.
    __table_args__ = (Index("ix_chunks_document", "document_id", "position"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    position: Mapped[int]
    heading: Mapped[str] = mapped_column(Text)
    """The title of the document and the headings above the passage."""
    text: Mapped[str] = mapped_column(Text)
    encoder: Mapped[str] = mapped_column(String(64), default="", index=True)
    """Name of the encoder that embedded it; empty if it is not embedded yet."""
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The chunk's unit vector, in little-endian float32."""


class AuditRow(Base):
    """An admin's action; append-only, and not affected when a member deletes their data."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_guild", "guild_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(default=utc_now)
    guild_id: Mapped[int | None] = mapped_column(BigInteger, info={SERVER: Fate.KEPT})
    """The server where it was done; null for the command line."""
    actor: Mapped[str] = mapped_column(String(64))
    actor_id: Mapped[int] = mapped_column(BigInteger, info={MEMBER: Fate.KEPT})
    """The member's id; 0 for the command line."""
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text, default="")
    personality_id: Mapped[int | None]
    """The affected personality; not a foreign key, so that entries are kept after deletions."""
    reason: Mapped[str] = mapped_column(Text, default="")
    outcome: Mapped[AuditOutcome]
    note: Mapped[str] = mapped_column(Text, default="")
    """The reason for a refusal, or the reference id of a failure."""


class SpendRow(Base):
    """Tokens that a model on a remote server read and wrote on one UTC day, for all bot processes together."""

    __tablename__ = "spend"

    day: Mapped[date] = mapped_column(primary_key=True)
    server: Mapped[str] = mapped_column(String(255), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    answers: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    answer_tokens: Mapped[int] = mapped_column(BigInteger)
