"""Sittings: one person compares pairs of answers, with `/choose` or in the console; each choice counts like any other.

Pairs that are drawn ahead for the next visitor wait in a sitting of NOBODY.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from random import Random

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from storage.conversations.degenerate import is_degenerate
from storage.conversations.replies import FinishedReply, NewReply, store_reply
from storage.database.columns import utc_now
from storage.database.enums import CHAMPION, NOBODY, Label, PairChoice
from storage.database.rows import changed_rows, count_rows, from_row, read_first
from storage.database.tables import ComparisonRow, PersonalityRow, ReplyRow, SittingPairRow, SittingRow
from storage.errors import SittingConflict
from storage.personalities.cards import Card
from storage.personalities.personalities import lock_personality, read_personality, under_present_card
from storage.releases.bases import of_base_in_use
from storage.releases.contests import find_rival
from storage.releases.versions import id_of, read_alias
from storage.taste.learning import LearnedTaste
from storage.votes.comparisons import Better, compare
from storage.votes.votes import Thumb, VoteEvent, append_events

CHOICES = {
    Label.FIRST: Better.FIRST,
    Label.SECOND: Better.SECOND,
    Label.BOTH_GOOD: Better.SAME,
    Label.BOTH_BAD: Better.SAME,
    Label.SAME: Better.SAME,
}
THUMBS = {Label.BOTH_GOOD: "👍", Label.BOTH_BAD: "👎"}
"""The vote that both answers get, besides being about the same."""

Answer = tuple[NewReply, FinishedReply]
Home = tuple[int, datetime]
"""(a person's server or DIRECT, the time since when they belong to it)"""
SHARED_AMONG = 500
"""Newest labelled pairs of others among which a shared one is searched."""
LESSONS = 0.5
"""Share of pairs that the taste model chooses; the others are random, so that it also learns from surprises."""


@dataclass(frozen=True)
class Sitting:
    id: int
    personality_id: int
    user_id: int


@dataclass(frozen=True)
class Side:
    """One answer of a pair."""

    reply_id: int
    text: str


@dataclass(frozen=True)
class SittingPair:
    id: int
    prompt: str
    chosen_by: PairChoice
    first: Side
    second: Side


@dataclass(frozen=True)
class SittingProgress:
    labelled: int
    """Number of labelled pairs, skipped ones included."""
    counts: dict[Label, int]

    @property
    def useful(self) -> int:
        """Number of pairs that the person did not skip."""
        return self.labelled - self.counts.get(Label.SKIPPED, 0)


def open_sitting(session: Session, personality_id: int, user_id: int) -> Sitting | None:
    """Return the person's unfinished sitting with the personality, or None."""
    return read_first(session, Sitting, _newest(personality_id, user_id).where(SittingRow.ended_at.is_(None)))


def sittings_of_spares(session: Session) -> list[Sitting]:
    """Return the sittings of NOBODY with personalities that answer, one for each with which somebody sat before."""
    rows = select(SittingRow).join(PersonalityRow, PersonalityRow.id == SittingRow.personality_id)
    open_ones = rows.where(SittingRow.user_id == NOBODY, PersonalityRow.archived_at.is_(None))
    return [from_row(Sitting, row) for row in session.scalars(open_ones.order_by(SittingRow.id))]


def last_sitting(session: Session, personality_id: int, user_id: int) -> Sitting | None:
    """Return the person's newest sitting with the personality, or None."""
    return read_first(session, Sitting, _newest(personality_id, user_id))


def _newest(personality_id: int, user_id: int) -> Select[SittingRow]:
    theirs = SittingRow.personality_id == personality_id, SittingRow.user_id == user_id
    return select(SittingRow).where(*theirs).order_by(SittingRow.id.desc())


def begin_sitting(session: Session, personality_id: int, user_id: int) -> Sitting:
    """Return the person's unfinished sitting, or a new one."""
    lock_personality(session, personality_id)  # of two tabs at once, the second one sees the first one's row
    if (unfinished := open_sitting(session, personality_id, user_id)) is not None:
        return unfinished
    row = SittingRow(personality_id=personality_id, user_id=user_id)
    session.add(row)
    session.flush()
    return from_row(Sitting, row)


def find_sitting(session: Session, pair_id: int) -> Sitting | None:
    """Return the sitting of a pair; None if the pair was deleted."""
    return read_first(session, Sitting, select(SittingRow).join(SittingPairRow).where(SittingPairRow.id == pair_id))


def end_sitting(session: Session, sitting_id: int) -> None:
    open_one = update(SittingRow).where(SittingRow.id == sitting_id, SittingRow.ended_at.is_(None))
    session.execute(open_one.values(ended_at=utc_now()))


def add_pair(
    session: Session,
    sitting: Sitting,
    prompt: str,
    answers: tuple[Answer, Answer],
    *,
    card: Card,
    chosen_by: PairChoice,
    unshown: Sequence[Answer] = (),
) -> None:
    """Store two fresh answers for the person to compare, and the unchosen ones that were drawn with them.

    Nothing is stored if the card with which they were drawn was changed in the meantime.
    """
    lock_personality(session, sitting.personality_id)
    if read_personality(session, sitting.personality_id).card != card:
        return
    first_id, second_id, *_ = [store_reply(session, *answer) for answer in (*answers, *unshown)]
    row = SittingPairRow(
        sitting_id=sitting.id, prompt=prompt, first_id=first_id, second_id=second_id, chosen_by=chosen_by
    )
    session.add(row)


def add_shared_pair(session: Session, sitting: Sitting) -> bool:
    """Ask about a pair that somebody else labelled lately and this person did not; return whether there was one.

    Only answers of the model in use, under its present card: labels of others no longer matter. There is none while a
    version waits.
    """
    if find_rival(session, sitting.personality_id):
        return False
    champion = read_alias(session, sitting.personality_id, CHAMPION).version
    labelled_lately = (
        select(SittingPairRow.id)
        .join(SittingRow)
        .where(
            SittingRow.personality_id == sitting.personality_id,
            SittingRow.user_id != sitting.user_id,
            SittingPairRow.label.is_not(None),
            SittingPairRow.label != Label.SKIPPED,
        )
        .order_by(SittingPairRow.id.desc())
        .limit(SHARED_AMONG)
    )
    second = aliased(ReplyRow)
    candidates = (
        select(SittingPairRow)
        .join(ReplyRow, ReplyRow.id == SittingPairRow.first_id)
        .join(second, second.id == SittingPairRow.second_id)
        .where(
            SittingPairRow.id.in_(labelled_lately),
            ReplyRow.version_id.is_not_distinct_from(id_of(champion)),
            second.version_id.is_not_distinct_from(id_of(champion)),
            of_base_in_use(session, ReplyRow),
            under_present_card(session, sitting.personality_id),
            SittingPairRow.prompt.not_in(_asked(sitting)),
        )
        .order_by(SittingPairRow.id.desc())
        .limit(1)
    )
    found = session.scalar(candidates)
    if found is None:
        return False
    session.add(
        SittingPairRow(
            sitting_id=sitting.id,
            prompt=found.prompt,
            first_id=found.first_id,
            second_id=found.second_id,
            chosen_by=PairChoice.SHARED,
        )
    )
    return True


def take_spare(session: Session, sitting: Sitting) -> bool:
    """Give the person a pair that was drawn ahead; return whether there was one with a new prompt."""
    lock_personality(session, sitting.personality_id)  # two people at once take two
    spares = open_sitting(session, sitting.personality_id, NOBODY)
    if spares is None:
        return False
    drop_outdated(session, spares)
    found = session.scalar(
        _waiting(spares.id).where(SittingPairRow.prompt.not_in(_asked(sitting))).order_by(SittingPairRow.id).limit(1)
    )
    if found is not None:
        found.sitting_id = sitting.id
    return found is not None


def drop_outdated(session: Session, sitting: Sitting) -> None:
    """Drop unlabelled pairs whose comparison no longer matters.

    In a person's own sitting they stay, skipped at no time: the person may have seen them, and gets no prompt twice.
    """
    outdated = SittingPairRow.id.in_(_outdated(session, sitting))
    if sitting.user_id == NOBODY:
        session.execute(delete(SittingPairRow).where(outdated))
    else:
        session.execute(update(SittingPairRow).where(outdated).values(label=Label.SKIPPED))


def _outdated(session: Session, sitting: Sitting) -> list[int]:
    """Return the ids of unlabelled pairs whose comparison no longer matters.

    These are answers of another base, of a version that neither leads nor waits, or from before the card was changed,
    and pairs from before a version waits.
    """
    waiting = session.scalars(_waiting(sitting.id)).all()
    if not waiting:
        return []
    personality_id = sitting.personality_id
    champion = read_alias(session, personality_id, CHAMPION).version
    rival = find_rival(session, personality_id)
    contenders = {id_of(champion), rival.id if rival else id_of(champion)}
    drawn = ReplyRow.id.in_([reply_id for row in waiting for reply_id in (row.first_id, row.second_id)])
    replies = {reply.id: reply for reply in session.scalars(select(ReplyRow).where(drawn))}
    as_now = of_base_in_use(session, ReplyRow), under_present_card(session, personality_id)
    current = set(session.scalars(select(ReplyRow.id).where(drawn, *as_now)))
    outdated = []
    for row in waiting:
        answers = replies[row.first_id], replies[row.second_id]
        # Even by a clock that was set back, an answer of the waiting version is no older than the version.
        compares = {reply.version_id for reply in answers} == contenders
        if any(
            reply.id not in current
            or reply.version_id not in contenders
            or (rival and not compares and reply.created_at < rival.created_at)
            for reply in answers
        ):
            outdated.append(row.id)
    return outdated


def asked_prompts(session: Session, sitting: Sitting) -> set[str]:
    """Return every prompt of the personality for which the person has a pair, shown already or drawn ahead."""
    return set(session.scalars(_asked(sitting)))


def _asked(sitting: Sitting) -> Select[str]:
    asked = aliased(SittingPairRow)
    theirs = SittingRow.personality_id == sitting.personality_id, SittingRow.user_id == sitting.user_id
    return select(asked.prompt).join(SittingRow, SittingRow.id == asked.sitting_id).where(*theirs)


def next_pair(session: Session, sitting: Sitting) -> SittingPair | None:
    """Return the pair that the person should compare now; None if none is drawn yet."""
    current = _waiting(sitting.id).where(SittingPairRow.id.not_in(_outdated(session, sitting)))
    row = session.scalar(current.order_by(SittingPairRow.id).limit(1))
    if row is None:
        return None
    answers = select(ReplyRow.id, ReplyRow.answer).where(ReplyRow.id.in_((row.first_id, row.second_id)))
    texts = dict(session.execute(answers).all())
    sides = (Side(reply_id, texts[reply_id]) for reply_id in (row.first_id, row.second_id))
    return SittingPair(row.id, row.prompt, row.chosen_by, *sides)


def count_drawn_ahead(session: Session, sitting_id: int) -> int:
    return count_rows(session, _waiting(sitting_id))


def _waiting(sitting_id: int) -> Select[SittingPairRow]:
    return select(SittingPairRow).where(SittingPairRow.sitting_id == sitting_id, SittingPairRow.label.is_(None))


def label_pair(
    session: Session, sitting: Sitting, pair_id: int, label: Label, home: Home | None, *, by_admin: bool = False
) -> None:
    """Store the person's label of a pair; raises SittingConflict if it already has a label, or is gone."""
    now, newest = utc_now(), select(func.max(SittingPairRow.labelled_at))
    last = session.scalar(newest.where(SittingPairRow.sitting_id == sitting.id))
    # Later than all others, even by a clock that was set back, so that `undo_label` finds the last one.
    at = max(now, last + timedelta(microseconds=1)) if last else now
    labelled = (
        update(SittingPairRow)
        .where(SittingPairRow.id == pair_id, SittingPairRow.sitting_id == sitting.id, SittingPairRow.label.is_(None))
        .values(label=label, labelled_at=at)
    )
    if changed_rows(session.execute(labelled)) != 1:
        raise SittingConflict(
            "those answers were compared already, in another window, or were deleted: reload the page"
        )
    row = session.get_one(SittingPairRow, pair_id, populate_existing=True)
    if label in CHOICES:
        _choose(session, row, sitting.user_id, CHOICES[label], home, by_admin=by_admin)
    _set_thumbs(session, row, sitting.user_id, label, added=True)


def _choose(
    session: Session, row: SittingPairRow, user_id: int, better: Better, home: Home | None, *, by_admin: bool
) -> None:
    earlier = session.get(ComparisonRow, (row.first_id, row.second_id, user_id))
    if earlier is not None:  # the same choice again would withdraw it
        session.delete(earlier)
        session.flush()
    compare(session, row.first_id, row.second_id, user_id, better, home=home, by_admin=by_admin)


def _set_thumbs(session: Session, row: SittingPairRow, user_id: int, label: Label, *, added: bool) -> None:
    if label in THUMBS:
        thumb = Thumb(0, user_id, THUMBS[label])
        append_events(session, [VoteEvent(reply_id, thumb, added) for reply_id in (row.first_id, row.second_id)])


def undo_label(session: Session, sitting: Sitting) -> None:
    """Take back the last label, so that its pair comes next again; raises SittingConflict if there is none."""
    newest = (
        select(SittingPairRow)
        .where(SittingPairRow.sitting_id == sitting.id, SittingPairRow.labelled_at.is_not(None))
        .order_by(SittingPairRow.labelled_at.desc(), SittingPairRow.id.desc())
        .limit(1)
    )
    row = session.scalar(newest)
    if row is None or row.label is None:
        raise SittingConflict("there is nothing to undo: you have not compared anything in this session")
    _set_thumbs(session, row, sitting.user_id, row.label, added=False)
    if (said := session.get(ComparisonRow, (row.first_id, row.second_id, sitting.user_id))) is not None:
        session.delete(said)
    row.label = row.labelled_at = None


def read_progress(session: Session, sitting_id: int) -> SittingProgress:
    labels = session.scalars(
        select(SittingPairRow.label).where(
            SittingPairRow.sitting_id == sitting_id, SittingPairRow.labelled_at.is_not(None)
        )
    ).all()
    counts = {label: labels.count(label) for label in Label if label in labels}
    return SittingProgress(len(labels), counts)


def choose_two(texts: Sequence[str], taste: LearnedTaste | None, rng: Random) -> tuple[tuple[int, int], PairChoice]:
    """Return the places of two of the texts in random order, and the way they were chosen.

    Broken ones are left out if there are two others.
    """
    sound = [place for place, text in enumerate(texts) if not is_degenerate(text)]
    pairs = list(combinations(sound if len(sound) > 1 else range(len(texts)), 2))
    if taste is not None and rng.random() < LESSONS:
        # The pair between which a choice would teach most.
        lesson = {two: taste.lessons((texts[two[0]], True), [(texts[two[1]], True)])[0] for two in pairs}
        pair, chosen_by = max(pairs, key=lesson.__getitem__), PairChoice.LESSON
    else:
        pair, chosen_by = rng.choice(pairs), PairChoice.CHANCE
    first, second = rng.sample(pair, 2)
    return (first, second), chosen_by
