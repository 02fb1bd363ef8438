"""The tables: what was asked, answered, voted, corrected, trained and released."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Plain = TypeVar("Plain", bound="DataclassInstance")

CHAMPION = "champion"
LAST_GOOD = "last-good"
ALIASES = (CHAMPION, LAST_GOOD)
NOBODY = 0
"""In place of a Discord id, which is never 0: said outside Discord, or by a member who deleted their data."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC instant; SQLite drops zones, so they are added back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a naive datetime reached the database: {value!r}")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def utc_now() -> datetime:
    return datetime.now(UTC)


def values_of(enum: type[StrEnum]) -> Enum:
    """Store an enum by value in a text column, alike in both databases; SQLAlchemy alone refuses other values."""
    return Enum(
        enum,
        native_enum=False,
        create_constraint=False,
        values_callable=lambda e: [m.value for m in e],
        length=32,
    )


class Basis(StrEnum):
    """Why a row may be trained on; no basis means never."""

    LOCAL = "local"
    PROMPT_BANK = "prompt_bank"
    LIVE_CHAT = "live_chat"


class Outcome(StrEnum):
    STREAMING = "streaming"
    COMPLETE = "complete"
    LENGTH = "length"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class RoundStatus(StrEnum):
    REQUESTED = "requested"
    RUNNING = "running"
    PUBLISHED = "published"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class PairSource(StrEnum):
    CORRECTION = "correction"
    SIBLINGS = "siblings"


class Split(StrEnum):
    TRAIN = "train"
    HOLDOUT = "holdout"


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
        Basis: values_of(Basis),
        Outcome: values_of(Outcome),
        RoundStatus: values_of(RoundStatus),
        PairSource: values_of(PairSource),
        Split: values_of(Split),
    }


def plain(cls: type[Plain], row: Base, **more: Any) -> Plain:
    """Return a dataclass filled from the row's columns of the same names; `more` has the values of the others."""
    return cls(**{field.name: getattr(row, field.name) for field in fields(cls) if field.name not in more}, **more)


class PersonalityRow(Base):
    __tablename__ = "personalities"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


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
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id"))
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    trained_on_deleted_data: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class AliasRow(Base):
    """A movable name; a null version is the base model without an adapter."""

    __tablename__ = "aliases"

    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    generation: Mapped[int] = mapped_column(default=0)


class AliasMoveRow(Base):
    """The audit trail: one row per move of an alias."""

    __tablename__ = "alias_moves"
    __table_args__ = (UniqueConstraint("personality_id", "alias", "generation"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    alias: Mapped[str] = mapped_column(String(32))
    generation: Mapped[int]
    from_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    to_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    moved_by: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text)
    moved_at: Mapped[datetime] = mapped_column(default=utc_now)


class ReplyRow(Base):
    """One answer and everything needed to reproduce it."""

    __tablename__ = "replies"
    __table_args__ = (
        Index("ix_replies_prompt", "personality_id", "prompt_digest"),
        Index("ix_replies_channel", "channel_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
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
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    author_id: Mapped[int] = mapped_column(BigInteger)
    source_message_id: Mapped[int | None] = mapped_column(BigInteger)
    basis: Mapped[Basis | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class ReplyMessageRow(Base):
    """A Discord message that carries (part of) a reply."""

    __tablename__ = "reply_messages"

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int]


class ReplySpeakerRow(Base):
    """A person whose words stand in a reply's prompt; their consent and deletion reach it."""

    __tablename__ = "reply_speakers"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)


class VoteEventRow(Base):
    """A thumb that appeared or went; append-only. The latest row of a thumb says whether it stands."""

    __tablename__ = "vote_events"
    __table_args__ = (
        Index("ix_vote_events_thumb", "reply_id", "user_id", "message_id", "emoji", "burst", "id", "standing"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"))
    message_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger, index=True)
    emoji: Mapped[str] = mapped_column(String(16))
    burst: Mapped[bool]
    standing: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class CorrectionRow(Base):
    __tablename__ = "corrections"

    id: Mapped[int] = mapped_column(primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[int] = mapped_column(BigInteger, index=True)
    text: Mapped[str] = mapped_column(Text)
    basis: Mapped[Basis | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    withdrawn_at: Mapped[datetime | None]


class RoundRow(Base):
    """One training run, from the request to its outcome."""

    __tablename__ = "rounds"
    __table_args__ = (Index("ix_rounds_status", "status", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    status: Mapped[RoundStatus] = mapped_column(default=RoundStatus.REQUESTED)
    requested_by: Mapped[str] = mapped_column(String(64))
    requested_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(255))
    parent_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id", use_alter=True))
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    manifest_digest: Mapped[str | None] = mapped_column(String(64))
    progress_channel_id: Mapped[int | None] = mapped_column(BigInteger)
    progress_message_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text, default="")


class RoundPairRow(Base):
    """A line of a round's manifest: which rows stood on each side of a pair."""

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

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    given_at: Mapped[datetime] = mapped_column(default=utc_now)


class ErasureRow(Base):
    """When a member last deleted their data; reactions that still stand on Discord must not bring it back."""

    __tablename__ = "erasures"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    erased_at: Mapped[datetime]


class HeartbeatRow(Base):
    """The last sign of life of a process on one machine."""

    __tablename__ = "heartbeats"

    process: Mapped[str] = mapped_column(String(32), primary_key=True)
    worker: Mapped[str] = mapped_column(String(255), primary_key=True)
    beat_at: Mapped[datetime]
