"""The training basis of a row, the consent behind it, and its withdrawal."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.database.enums import Basis
from storage.database.rows import any_row
from storage.database.tables import ConsentRow, CorrectionRow, DepartureRow, ErasureRow, OptOutRow, ReplyRow
from storage.members import Pseudonym, read_pseudonyms
from storage.privacy.erasure import lock_erasures, mark_versions_of_voter
from storage.settings.sections import PrivacySettings
from storage.votes.corrections import wrong_facts
from storage.votes.weights import quarantined
from storage.wording import gettext_noop


@dataclass(frozen=True)
class Agreement:
    """Consents, deletions and other withdrawals of members at one moment."""

    consents: frozenset[Pseudonym]
    """Members who allow training on their live messages."""
    erasures: frozenset[tuple[Pseudonym, datetime]]
    """Members who deleted their data, with the time of the last deletion."""
    withdrawals: frozenset[int]
    """Ids of withdrawn corrections."""
    quarantined: frozenset[tuple[int, Pseudonym]]
    """Reply and voter of each vote that must not count."""
    departures: frozenset[tuple[int, Pseudonym]] = frozenset()
    """Server and member of departures whose data is still stored."""
    opt_outs: frozenset[Pseudonym] = frozenset()
    """Members whose reactions must not be learned from."""

    def still_holds(self, now: Agreement) -> bool:
        """Return whether nothing has been taken back since; additions can wait for the next round."""
        return (
            now.consents >= self.consents
            and now.erasures <= self.erasures
            and now.withdrawals <= self.withdrawals
            and now.quarantined <= self.quarantined
            and now.departures >= self.departures
            and now.opt_outs <= self.opt_outs
        )


def open_bases(settings: PrivacySettings) -> tuple[Basis, ...]:
    """Return the bases that may be trained on under these settings."""
    if settings.discord_training_permission:
        return (Basis.LOCAL, Basis.PROMPT_BANK, Basis.LIVE_CHAT)
    return (Basis.LOCAL, Basis.PROMPT_BANK)


def describe_bases(settings: PrivacySettings) -> str:
    """Return a sentence or two on the data that is trained on, and why the rest is not."""
    if settings.discord_training_permission:
        return gettext_noop(
            "Messages of members who allow it, the prompt bank, and what was said outside Discord may be used for "
            "training."
        )
    return gettext_noop(
        "The prompt bank and what was said outside Discord may be used for training. Members' messages may not: "
        "Discord forbids that without permission (privacy.discord_training_permission = false)."
    )


def give_consent(session: Session, user_id: int) -> bool:
    """Store the member's consent to training, and learn from their reactions again; return whether it is new."""
    is_new = session.get(ConsentRow, user_id) is None
    session.merge(ConsentRow(user_id=user_id))
    session.execute(delete(OptOutRow).where(OptOutRow.user_id == user_id))
    return is_new


def withdraw_consent(session: Session, user_id: int) -> bool:
    """Withdraw the member's consent, and stop learning from their reactions; return whether that changes anything.

    Versions that learned from their votes are marked, as after a deletion.
    """
    is_new = session.get(OptOutRow, user_id) is None
    if is_new:
        mark_versions_of_voter(session, user_id)
        session.add(OptOutRow(user_id=user_id))
    session.execute(delete(ConsentRow).where(ConsentRow.user_id == user_id))
    return is_new


def has_opted_out(session: Session, user_id: int) -> bool:
    return session.get(OptOutRow, user_id) is not None


def consenting(session: Session, user_ids: Collection[int]) -> set[int]:
    """Return the users who allow training on their live messages."""
    return set(session.scalars(select(ConsentRow.user_id).where(ConsentRow.user_id.in_(user_ids))))


def basis_of_chat(session: Session, speakers: Collection[int]) -> Basis | None:
    """Return the basis of an answer in live chat: everyone whose words are in its prompt must have opted in."""
    return Basis.LIVE_CHAT if speakers and consenting(session, speakers) >= set(speakers) else None


def erased_since(session: Session, user_ids: Collection[int], moment: datetime) -> bool:
    """Return whether one of the users deleted their data at `moment` or later.

    Deletions wait until this transaction ends.
    """
    lock_erasures(session, shared=True)
    deletions = select(ErasureRow.user_id).where(ErasureRow.user_id.in_(user_ids), ErasureRow.erased_at >= moment)
    return any_row(session, deletions)


def read_agreement(session: Session, personality_id: int) -> Agreement:
    """Return the agreement that a round of the personality must respect; a plan may be written while it still holds."""
    erasures = session.execute(select(ErasureRow.user_id, ErasureRow.erased_at))
    departures = session.execute(select(DepartureRow.guild_id, DepartureRow.user_id))
    withdrawals = (
        select(CorrectionRow.id)
        .join(ReplyRow)
        .where(ReplyRow.personality_id == personality_id, CorrectionRow.withdrawn_at.is_not(None))
    )
    excluded = quarantined(session, personality_id) | wrong_facts(session, personality_id)
    pseudonym_of = read_pseudonyms(session).of
    return Agreement(
        consents=frozenset(map(pseudonym_of, session.scalars(select(ConsentRow.user_id)))),
        erasures=frozenset((pseudonym_of(user_id), erased_at) for user_id, erased_at in erasures),
        withdrawals=frozenset(session.scalars(withdrawals)),
        quarantined=frozenset((reply_id, pseudonym_of(user_id)) for reply_id, user_id in excluded),
        departures=frozenset((guild_id, pseudonym_of(user_id)) for guild_id, user_id in departures),
        opt_outs=frozenset(map(pseudonym_of, session.scalars(select(OptOutRow.user_id)))),
    )
