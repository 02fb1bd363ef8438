"""The tables: what was asked, answered, voted, corrected, trained and released."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
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

from storage.database.columns import LargeId, UtcDateTime, utc_now, values_of
from storage.database.enums import (
    NOBODY,
    ArenaStatus,
    AuditOutcome,
    Basis,
    CanaryStatus,
    Cause,
    DocumentKind,
    GateVerdict,
    Origin,
    Outcome,
    PairSource,
    QuarantineRule,
    QuarantineStatus,
    RoundStatus,
    Scope,
    Split,
    TrainingSource,
)

if TYPE_CHECKING:
    pass


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
        Basis: values_of(Basis),
        Origin: values_of(Origin),
        Outcome: values_of(Outcome),
        RoundStatus: values_of(RoundStatus),
        GateVerdict: values_of(GateVerdict),
        PairSource: values_of(PairSource),
        Split: values_of(Split),
        QuarantineRule: values_of(QuarantineRule),
        QuarantineStatus: values_of(QuarantineStatus),
        ArenaStatus: values_of(ArenaStatus),
        CanaryStatus: values_of(CanaryStatus),
        Cause: values_of(Cause),
        TrainingSource: values_of(TrainingSource),
        Scope: values_of(Scope),
        DocumentKind: values_of(DocumentKind),
        AuditOutcome: values_of(AuditOutcome),
    }


class PersonalityRow(Base):
    __tablename__ = "personalities"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    card: Mapped[dict[str, Any]] = mapped_column(default=dict)
    file_digest: Mapped[str | None] = mapped_column(String(64))
    """Digest of the card file that was taken last; none for a personality that no file made."""
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    """The server whose admins made it and may change it; none for the operator's, which every server may use."""
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class CardRevisionRow(Base):
    """A card as it was from a moment on; nothing that was written is lost by a change."""

    __tablename__ = "card_revisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"), index=True)
    card: Mapped[dict[str, Any]]
    changed_by: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[datetime] = mapped_column(default=utc_now)


class BindingRow(Base):
    """Which personality speaks at a place, and how strongly its adapter counts there."""

    __tablename__ = "bindings"

    scope: Mapped[Scope] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"), index=True)
    strength: Mapped[float] = mapped_column(default=1.0)
    bound_by: Mapped[str] = mapped_column(String(64))
    bound_at: Mapped[datetime] = mapped_column(default=utc_now)


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
    verdict: Mapped[GateVerdict] = mapped_column(default=GateVerdict.PASS)
    trained_on_deleted_data: Mapped[bool] = mapped_column(default=False)
    withdrawn_at: Mapped[datetime | None]
    """Since when its files are gone; the row and its manifest stay."""
    withdrawn_because: Mapped[str] = mapped_column(Text, default="")
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
    )

    id: Mapped[int] = mapped_column(LargeId, primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    strength: Mapped[float] = mapped_column(default=1.0)
    """Factor of the adapter's effect; 1 is as trained."""
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
    origin: Mapped[Origin] = mapped_column(default=Origin.CHAT)
    retrieved: Mapped[list[dict[str, int]]] = mapped_column(default=list)
    """The passages quoted in the prompt, in order: chunk_id, and document_id because chunks go with their document."""
    summary_from: Mapped[int | None] = mapped_column(BigInteger)
    summary_to: Mapped[int | None] = mapped_column(BigInteger)
    """Ids of the first and the last message that the summary in the prompt tells; null without a summary."""
    edited_at: Mapped[datetime | None]
    """When a message in the prompt was edited, since which it is neither answered again nor trained on."""
    undelivered: Mapped[str | None] = mapped_column(Text)
    """Small print of an answer whose end Discord has not accepted yet; null once it has."""
    request_id: Mapped[str | None] = mapped_column(String(16), index=True)
    """Of the message, reaction or command that it answers; log lines and members name it."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class ReplyIdRow(Base):
    """The highest id that an answer ever had; one row."""

    __tablename__ = "reply_ids"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    highest: Mapped[int] = mapped_column(LargeId, default=0)


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


class ReplySourceRow(Base):
    """A Discord message whose text stands in a reply's prompt; its deletion reaches the reply."""

    __tablename__ = "reply_sources"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    user_id: Mapped[int] = mapped_column(BigInteger, default=NOBODY)
    """Who wrote it; nobody for the bot's own answers, and for messages that a quoted document was made of."""


class VoteEventRow(Base):
    """A thumb that appeared or went; append-only. The latest row of a thumb says whether it stands."""

    __tablename__ = "vote_events"
    __table_args__ = (
        Index("ix_vote_events_thumb", "reply_id", "user_id", "message_id", "emoji", "burst", "id", "standing"),
    )

    id: Mapped[int] = mapped_column(LargeId, primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"))
    message_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger, index=True)
    emoji: Mapped[str] = mapped_column(String(16))
    burst: Mapped[bool]
    standing: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class VoteCauseRow(Base):
    """What a member says is wrong with an answer; it counts while their 👎 stands."""

    __tablename__ = "vote_causes"

    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    cause: Mapped[Cause]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    settled_by: Mapped[str | None] = mapped_column(String(64))
    """The admin who added a document for it, or found that none is needed."""


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
    lesson: Mapped[TrainingSource] = mapped_column(default=TrainingSource.VOTES)
    status: Mapped[RoundStatus] = mapped_column(default=RoundStatus.REQUESTED)
    requested_by: Mapped[str] = mapped_column(String(64))
    requested_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[datetime | None]
    """Until when the worker holds the running round, by the database's clock; without one anybody may end it."""
    parent_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id", use_alter=True))
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    manifest_digest: Mapped[str | None] = mapped_column(String(64))
    evidence: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the votes gave: pairs by source, votes that rules removed, and notes. Nobody's name or id."""
    gate: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The gate's verdict and its checks, each with its outcome and a sentence."""
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
    replayed: Mapped[bool] = mapped_column(default=False)
    """An earlier round of the parent's line trained on it already."""
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


class GreetingRow(Base):
    """A member who was told once what is kept of them."""

    __tablename__ = "greetings"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    greeted_at: Mapped[datetime] = mapped_column(default=utc_now)


class DepartureRow(Base):
    """A member who left a server, or a server (nobody) that the bot left; what is kept of them goes some time later."""

    __tablename__ = "departures"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    left_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class ConversationRow(Base):
    """What is remembered of the conversation in a channel beside its messages."""

    __tablename__ = "conversations"

    channel_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    summary: Mapped[str] = mapped_column(Text, default="")
    summarised_from: Mapped[int] = mapped_column(BigInteger, default=0)
    """Id of the first message that the summary tells."""
    summarised_to: Mapped[int] = mapped_column(BigInteger, default=0)
    forgotten_to: Mapped[int] = mapped_column(BigInteger, default=0)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class ConversationSpeakerRow(Base):
    """A person whose words a conversation's summary tells; their consent and deletion reach it."""

    __tablename__ = "conversation_speakers"

    channel_id: Mapped[int] = mapped_column(
        ForeignKey("conversations.channel_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)


class MemberNoteRow(Base):
    """What a member wants the bot to know about them."""

    __tablename__ = "member_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, index=True)
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class HeartbeatRow(Base):
    """The last sign of life of a process on one machine."""

    __tablename__ = "heartbeats"

    process: Mapped[str] = mapped_column(String(32), primary_key=True)
    worker: Mapped[str] = mapped_column(String(255), primary_key=True)
    beat_at: Mapped[datetime]


class AlertRow(Base):
    """Trouble that admins are told of once while it lasts, and the end of it."""

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
    """The installation that it concerns, as in heartbeats; empty where it concerns all that share the database."""
    key: Mapped[str] = mapped_column(String(128))
    says: Mapped[str] = mapped_column(Text)
    remedy: Mapped[str] = mapped_column(Text)
    lasts: Mapped[bool]
    """Its end is news as well; what merely happened has none."""
    raised_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]
    told: Mapped[bool] = mapped_column(default=False)
    end_told: Mapped[bool] = mapped_column(default=False)


class ScheduleRow(Base):
    """Up to when a schedule was looked at, by the database's clock; whoever moves it does what fell due before."""

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    seen_until: Mapped[datetime]


class RoundVoterRow(Base):
    """How much of a round one voter carried, and how much of it would change without them."""

    __tablename__ = "round_voters"

    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True)
    pseudonym: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    share: Mapped[float]
    influence: Mapped[float]


class PseudonymKeyRow(Base):
    """The key of the pseudonyms: one row, made by a migration. Who has it can tell whose pseudonym is whose."""

    __tablename__ = "pseudonym_keys"
    __table_args__ = (CheckConstraint("id = 1", name="only"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[bytes] = mapped_column(LargeBinary)


class MemberRow(Base):
    """Since when a voter is a member of a server, as far as Discord said; it gives their votes weight."""

    __tablename__ = "members"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)
    joined_at: Mapped[datetime]


class QuarantineRow(Base):
    """A burst of votes that waits for an admin, or that one decided on."""

    __tablename__ = "quarantines"
    __table_args__ = (Index("ix_quarantines_status", "personality_id", "status"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    rule: Mapped[QuarantineRule]
    subject_id: Mapped[int] = mapped_column(BigInteger)
    """Id of the reply, of the replies' author (a member) or of the version (0 is the base)."""
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
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)


class ArenaRow(Base):
    """One prompt of the operator's with blind answers that members choose from."""

    __tablename__ = "arenas"
    __table_args__ = (Index("ix_arenas_status", "status", "closes_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    prompt: Mapped[str] = mapped_column(Text)
    status: Mapped[ArenaStatus] = mapped_column(default=ArenaStatus.PREPARING)
    started_by: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    closes_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(Text, default="")


class ArenaAnswerRow(Base):
    """An answer at a place of an arena; places are in random order and begin at 1."""

    __tablename__ = "arena_answers"

    arena_id: Mapped[int] = mapped_column(ForeignKey("arenas.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("replies.id", ondelete="CASCADE"), index=True)


class CanaryRow(Base):
    """A challenger that answers a share of conversations, until a sequential test or an admin ends it."""

    __tablename__ = "canaries"
    __table_args__ = (Index("ix_canaries_status", "personality_id", "status"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    personality_id: Mapped[int] = mapped_column(ForeignKey("personalities.id"))
    champion_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    challenger_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    share: Mapped[float]
    alpha: Mapped[float]
    max_votes: Mapped[int]
    """Share, alpha and most votes are those of the settings at its start, whatever is set later."""
    status: Mapped[CanaryStatus] = mapped_column(default=CanaryStatus.RUNNING)
    started_by: Mapped[str] = mapped_column(String(64))
    start_reason: Mapped[str] = mapped_column(Text, default="")
    overrides_gate: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it ended."""
    numbers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Votes, failures and e-values of both sides when it was last looked at."""
    announced: Mapped[bool] = mapped_column(default=False)


class DocumentRow(Base):
    """What a server told the bot; removed ones keep their title, so that earlier citations can be explained."""

    __tablename__ = "documents"
    __table_args__ = (Index("ix_documents_guild", "guild_id", "removed_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    channel_id: Mapped[int | None] = mapped_column(BigInteger)
    """Looked up in this channel and its threads alone; null is the whole server."""
    personality_id: Mapped[int | None] = mapped_column(ForeignKey("personalities.id"))
    """Looked up by this personality alone; null is all of them."""
    title: Mapped[str] = mapped_column(Text)
    kind: Mapped[DocumentKind]
    link: Mapped[str] = mapped_column(Text, default="")
    media_type: Mapped[str] = mapped_column(String(128))
    text: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the text, by which a second copy is noticed; empty once removed."""
    revision: Mapped[int] = mapped_column(default=1)
    """Grows with every change of the chunks; an index in memory knows by it that it is stale."""
    added_by: Mapped[str] = mapped_column(String(64))
    added_at: Mapped[datetime] = mapped_column(default=utc_now)
    refreshed_at: Mapped[datetime] = mapped_column(default=utc_now)
    removed_at: Mapped[datetime | None]


class DocumentSpeakerRow(Base):
    """A member whose messages a document holds; their consent and deletion reach it."""

    __tablename__ = "document_speakers"

    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)


class DocumentSourceRow(Base):
    """A Discord message that a document was made of; its deletion reaches the document."""

    __tablename__ = "document_sources"

    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    channel_id: Mapped[int] = mapped_column(BigInteger, index=True)


class ChunkRow(Base):
    """A passage of a document; beside it, outside these models, stands what each database searches words by."""

    __tablename__ = "chunks"
    # A reply names the chunks that it was served, so the id of one that is gone must not come back.
    __table_args__ = (Index("ix_chunks_document", "document_id", "position"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    position: Mapped[int]
    heading: Mapped[str] = mapped_column(Text)
    """The title of the document and the headings above the passage."""
    text: Mapped[str] = mapped_column(Text)
    encoder: Mapped[str] = mapped_column(String(64), default="", index=True)
    """Name of the encoder that embedded it; empty means that it waits."""
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Its vector of length 1, in little-endian float32."""


class AuditRow(Base):
    """What somebody did with an admin's rights; append-only, and a member's deletion leaves it as it is."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_guild", "guild_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(default=utc_now)
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    """Where it was said; none for the command line."""
    actor: Mapped[str] = mapped_column(String(64))
    actor_id: Mapped[int] = mapped_column(BigInteger)
    """The member's id; 0 for the command line."""
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text, default="")
    personality_id: Mapped[int | None]
    """Whom it concerned; no foreign key, so that the trail outlives everything."""
    reason: Mapped[str] = mapped_column(Text, default="")
    outcome: Mapped[AuditOutcome]
    note: Mapped[str] = mapped_column(Text, default="")
    """Why it was refused, or the reference id of a failure."""


class SpendRow(Base):
    """What a model of a remote server read and wrote on one UTC day, of all bot processes together."""

    __tablename__ = "spend"

    day: Mapped[date] = mapped_column(primary_key=True)
    server: Mapped[str] = mapped_column(String(255), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    answers: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    answer_tokens: Mapped[int] = mapped_column(BigInteger)
