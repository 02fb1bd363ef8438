"""Carries out the decision that people's choices made about a version."""

from __future__ import annotations

from sqlalchemy.orm import Session

from storage.database.enums import GateVerdict
from storage.releases.contests import Contest, Decision
from storage.releases.promotion import make_champion
from storage.releases.versions import Version, id_of, moves_of, read_alias, settle_verdict
from storage.settings.sections import ReleaseSettings
from storage.wording import gettext_noop

CHOICES = gettext_noop("people's choices")
"""Recorded as the mover of the champion if release.auto_promote follows people's choices."""


def conclude(session: Session, contest: Contest, decision: Decision, settings: ReleaseSettings) -> bool:
    """Carry out people's decision: settle the verdict, and promote; return False if it was too late.

    With release.auto_promote a version becomes the champion unless it was champion before: then somebody took it back.
    Raises AliasConflict if somebody moves the champion at the same time.
    """
    version = contest.rival
    champion = read_alias(session, version.personality_id)
    if id_of(champion.version) != id_of(contest.champion):
        return False  # these choices are counted again against the new champion
    promotes = decision.verdict is GateVerdict.PASS and _is_automatic(session, version, settings)
    if promotes:
        make_champion(session, version.personality_id, champion, version, by=CHOICES, reason=decision.reason)
    # A promotion is announced with the same reason.
    evidence = contest.numbers | {"reason": decision.reason}
    return settle_verdict(session, version, decision.verdict, evidence, announced=promotes)


def _is_automatic(session: Session, version: Version, settings: ReleaseSettings) -> bool:
    return settings.auto_promote and not moves_of(session, version)
