"""Carries out what people's choices decided about a version."""

from __future__ import annotations

from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION, GateVerdict
from storage.errors import CanaryRefused
from storage.releases.canaries import CANARY, Canary, end_canary
from storage.releases.evidence import Contest, Decision
from storage.releases.promotion import make_champion
from storage.releases.versions import Version, id_of, moves_of, read_alias, settle_verdict
from storage.sentences import Sentence, joined
from storage.settings.sections import ReleaseSettings
from storage.wording import gettext_noop

CHOICES = gettext_noop("people's choices")
"""Recorded as the mover of the champion if release.auto_promote follows what they decided."""


def conclude(session: Session, contest: Contest, decision: Decision, settings: ReleaseSettings) -> bool:
    """Do what people's choices decided: settle the verdict, end the canary, promote; return False if it was too late.

    A version becomes the champion if its canary won, or with release.auto_promote unless it was champion before: then
    somebody took it back. Raises AliasConflict or CanaryRefused if somebody moves the champion or ends the canary at
    the same time.
    """
    version, canary = contest.rival.version, contest.rival.canary
    champion = read_alias(session, version.personality_id)
    if id_of(champion.version) != id_of(contest.champion):
        return False  # what people chose counts anew against the new champion
    promotes = decision.verdict is GateVerdict.PASS and bool(canary or _is_automatic(session, version, settings))
    if promotes:
        make_champion(
            session,
            version.personality_id,
            champion,
            version,
            by=CANARY if canary else CHOICES,
            reason=_why_promoted(decision, canary),
            overrides_gate=canary is not None and canary.overrides_gate,
        )
    if canary is not None and not end_canary(
        session, canary.id, decision.canary, by=CANARY, reason=decision.reason, numbers=contest.numbers
    ):
        raise CanaryRefused("the canary of {name} has already ended: nothing was changed", name=version.name)
    if decision.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE:
        return True
    # A promotion and the end of a canary are announced with the same reason.
    announced, evidence = promotes or bool(canary), contest.numbers | {"reason": decision.reason}
    return settle_verdict(session, version, decision.verdict, evidence, announced=announced) or bool(canary)


def _why_promoted(decision: Decision, canary: Canary | None) -> str:
    if canary is None or not canary.overrides_gate:
        return decision.reason
    overrode = Sentence("{admin} overrode the gate: {reason}", admin=canary.started_by, reason=canary.start_reason)
    return joined("; ", [decision.reason, overrode])


def _is_automatic(session: Session, version: Version, settings: ReleaseSettings) -> bool:
    return settings.auto_promote and not any(move.alias == CHAMPION for move in moves_of(session, version))
