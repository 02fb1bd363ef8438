"""The demo's guide: one line above the field to write in, which says what to try next until a version is promoted.

What was done is read from the database, so the guide goes on where it was after a restart, and nobody must do a step
in its place. The browser remembers two things that the database does not know: that somebody closed the guide, and that
they looked at what the bot had learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlencode

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from bot.cogs.choose import PAIRS
from storage.database.enums import CHAMPION, GateVerdict, Label
from storage.database.rows import any_row, count_rows
from storage.database.tables import AliasMoveRow, ReplyRow, SittingPairRow, SittingRow, VersionRow, VoteEventRow
from storage.insights.model_status import newest_after
from storage.releases.bases import base_in_use, of_base_in_use
from storage.releases.contests import find_rival
from storage.releases.pair_share import first_choices_left
from storage.releases.versions import Version, read_alias
from storage.training.rounds import latest_round


class Remembered(StrEnum):
    """The browser's memory of the guide, in a cookie."""

    NOTHING = ""
    LOOKED = "looked"
    CLOSED = "closed"


@dataclass(frozen=True)
class GuideStep:
    number: int
    words: str
    says: str = ""
    """A command that the step's button sends as the visitor."""
    leads_to: str = ""
    """The address that the step's link leads to."""
    link: str = ""


LAST = 8
ASK = GuideStep(1, "Write something to the bot, or press one of the suggestions.")
VOTE = GuideStep(2, "Press 👍 or 👎 under an answer: that is how the bot learns.")
CHOOSE = "Think of one thing that you like, such as a question at the end, and choose by it. {done} of 10 done."
LOOK = GuideStep(
    4,
    "The bot now begins several answers and finishes the one that suits your choices. See what it has learned.",
    leads_to="learned",
    link="What it has learned",
)
TRAIN = GuideStep(
    5,
    "Let it learn this for good. An admin, grace, starts the training; it takes some minutes.",
    leads_to="/channel/grace/lounge?command=version+train",
    link="Train as grace",
)
TRAIN_EARLY = replace(TRAIN, words=f"{TRAIN.words} Forty choices make a better version than ten.", says="/choose")
TRAINING = GuideStep(
    5, "A new version is being trained. You can keep talking.", leads_to="/rounds", link="See how far it is"
)
NO_VERSION = replace(
    TRAIN,
    words="No new version was made. Versions, Rounds says why. More pairs usually help; then train again.",
    says="/choose",
)
JUDGE = "{version} is made. Is it better? Ten pairs show its answers beside today's, without names. {done} of 10 done."
PROMOTE = (
    "You have compared {version} with today's answers. Shall it answer from now on? An admin decides, and says why."
)
DONE = GuideStep(
    LAST,
    "{version} answers now. That was the whole loop; Versions shows it. An admin, grace, can undo it.",
    leads_to="/channel/grace/lounge?command=version+rollback",
    link="Roll back as grace",
)
UNDONE = GuideStep(
    LAST,
    "The base answers again. That was the whole loop, and back.",
    leads_to="/versions",
    link="See all versions",
)


def next_step(session: Session, personality_id: int, remembered: Remembered) -> GuideStep | None:
    """Return the first step that nobody has done yet; None once the guide is closed."""
    if remembered is Remembered.CLOSED:
        return None
    now = read_alias(session, personality_id)
    if now.version or _has_answered(session, personality_id):
        return replace(DONE, words=DONE.words.format(version=now.version.name)) if now.version else UNDONE
    newest = newest_after(session, personality_id, None)
    is_ready = newest is not None and newest.verdict is GateVerdict.PASS
    if waiting := newest if is_ready else find_rival(session, personality_id):
        return _judge(session, personality_id, waiting)
    return _teach(session, personality_id) or (_train(session, personality_id) if remembered else LOOK)


def _has_answered(session: Session, personality_id: int) -> bool:
    """Return whether a version of the base in use was the champion."""
    left = select(AliasMoveRow.id).join(VersionRow, VersionRow.id == AliasMoveRow.from_version_id)
    of_champion = (AliasMoveRow.personality_id == personality_id, AliasMoveRow.alias == CHAMPION)
    return any_row(session, left.where(*of_champion, of_base_in_use(session)))


def _teach(session: Session, personality_id: int) -> GuideStep | None:
    said = select(ReplyRow.id).where(ReplyRow.personality_id == personality_id)
    chosen = _count_choices(session, personality_id)
    if chosen >= PAIRS:
        return None
    if not count_rows(session, said.limit(1)):
        return ASK
    if not count_rows(session, select(VoteEventRow.id).where(VoteEventRow.reply_id.in_(said))):
        return VOTE
    return GuideStep(3, CHOOSE.format(done=chosen), says="/choose")


def _train(session: Session, personality_id: int) -> GuideStep:
    round_, base = latest_round(session, personality_id), base_in_use(session)
    if round_ and round_.is_open:
        return TRAINING
    if round_ and not (base and round_.requested_at < base.begun_at):
        return NO_VERSION
    return TRAIN_EARLY if first_choices_left(session, personality_id) else TRAIN


def _judge(session: Session, personality_id: int, rival: Version) -> GuideStep:
    judged = _count_choices(session, personality_id, rival)
    is_ready = rival.verdict is GateVerdict.PASS
    if judged < PAIRS and not is_ready:
        return GuideStep(6, JUDGE.format(version=rival.name, done=judged), says="/choose")
    # Ten pairs rarely prove a version better, so the form says that grace promotes it all the same.
    override = {} if is_ready else {"field.override": "True"}
    form = urlencode({"command": "version promote", "field.version": rival.name} | override)
    words = PROMOTE.format(version=rival.name)
    return GuideStep(7, words, leads_to=f"/channel/grace/lounge?{form}", link="Promote as grace")


def _count_choices(session: Session, personality_id: int, version: Version | None = None) -> int:
    """Return the number of pairs in which somebody chose; with a version, of those with an answer of it."""
    chosen = (
        select(SittingPairRow.id)
        .join(SittingRow)
        .where(SittingRow.personality_id == personality_id, SittingPairRow.label != Label.SKIPPED)
    )
    if version:
        its = select(ReplyRow.id).where(ReplyRow.version_id == version.id)
        chosen = chosen.where(or_(SittingPairRow.first_id.in_(its), SittingPairRow.second_id.in_(its)))
    return count_rows(session, chosen)
