"""Texts about the comparison of a new version with the champion, and about canaries."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from bot.text.rounds import sentence
from bot.text.sanitize import sanitize_reason
from storage.database.enums import CanaryStatus
from storage.releases.canaries import Canary
from storage.releases.evidence import CanaryState, Contest, LeftOut, Standing
from storage.releases.versions import name_of
from storage.statistics import DECISIVE
from storage.wording import count

LEFT_OUT = {
    LeftOut.NEW: "by new accounts or members",
    LeftOut.REPEATED: "on a question that was decided before",
    LeftOut.BEYOND_SHARE: "beyond one person's share",
    LeftOut.OPTED_OUT: "by people who opted out",
    LeftOut.QUARANTINED: "in quarantine",
    LeftOut.OTHER_STRENGTH: "where the strength is not 1",
}
MANY_CHOICES = 500
"""From this many choices on, no estimate is shown: it would not help an admin."""
CANARY_ENDS = {
    CanaryStatus.PROMOTED: "won",
    CanaryStatus.ROLLED_BACK: "was rolled back",
    CanaryStatus.INCONCLUSIVE: "ended without a result",
    CanaryStatus.STOPPED: "was stopped",
}
NO_CANARY = "No canary is running."


def describe_contest(contest: Contest) -> str:
    """Return what people chose so far, as in "v3 leads 14 to 6 in blind pairs; about 12 more choices decide"."""
    evidence, version, champion = contest.evidence, contest.rival.version.name, name_of(contest.champion)
    if not evidence.wins + evidence.losses + evidence.ties and not evidence.left_out:
        return f"{version} waits for people's choices: nobody has compared it with {champion} yet."
    left = evidence.choices_left
    more = "undecided so far" if left is None or left > MANY_CHOICES else f"about {count(left, 'more choice')} decide"
    more = contest.dead_end or more
    return f"{version} {lead(evidence.wins, evidence.losses)} {evidence.score}; {more}.{_left_out(evidence)}"


def lead(wins: int, losses: int) -> str:
    """Return the verb between a version and its score, as in "leads 14 to 6"."""
    return "leads" if wins > losses else "trails" if wins < losses else "is level"


def _left_out(evidence: Standing) -> str:
    """Return how many choices count and why the others do not, if there are others."""
    left_out, counted = evidence.left_out, evidence.wins + evidence.losses
    others = sum(left_out.values())
    reasons = ", ".join(f"{left_out[why]} {words}" for why, words in LEFT_OUT.items() if why in left_out)
    return f" {counted} of {counted + others} choices count, the others not: {reasons}." if others else ""


def how_to_choose(contest: Contest) -> str:
    canary, name = contest.rival.canary, contest.rival.version.name
    if canary is not None:
        return f"A canary asks people in {canary.share:.0%} of answers. Details: `/model canary status`"
    return f"Second answers in chat and `/arena start` ask people; `/model canary start {name}` asks more often"


def describe_canary(state: CanaryState, now: datetime) -> str:
    """Return share, choices and evidence of the running canary, or how the last one ended."""
    if state.running is not None and state.running.rival.canary is not None:
        return _running_canary(state.running, state.running.rival.canary, now)
    if state.last is None:
        return NO_CANARY
    end = f"the last one, of {state.last_challenger}, {CANARY_ENDS[state.last.status]}"
    return f"{NO_CANARY}\n{sentence(f'{end}: {sanitize_reason(state.last.reason)}')}"


def _running_canary(contest: Contest, canary: Canary, now: datetime) -> str:
    version, champion, evidence = contest.rival.version, name_of(contest.champion), contest.evidence
    why = sanitize_reason(canary.start_reason)
    lines = [
        f"**Canary:** {canary.share:.0%} of answers come with a blind second one; {version.name} gives one of the two "
        f"and {champion} the other. Running for {_duration(now - canary.started_at)} (started by "
        f"{canary.started_by}{f': {why}' if why else ''})",
        describe_contest(contest),
        f"Evidence that people prefer {version.name}: {evidence.better:.2g} of {DECISIVE:g}; that they like it less: "
        f"{evidence.worse:.2g} of {DECISIVE:g}. Without a result, the canary ends in "
        f"{_duration(max(timedelta(), canary.ends_at - now))}.",
    ]
    if canary.overrides_gate:
        lines.append(f"⚠️ {canary.started_by} overrode the gate ({version.verdict}): {why}")
    return "\n".join(lines)


def canary_data(state: CanaryState) -> dict[str, Any]:
    """Return the state for scripts."""
    contest, last = state.running, state.last
    if contest is None or contest.rival.canary is None:
        return {"running": False, "last": asdict(last) | {"challenger": state.last_challenger} if last else None}
    names = {"champion": name_of(contest.champion), "challenger": contest.rival.version.name}
    return {"running": True} | asdict(contest.rival.canary) | names | {"numbers": contest.numbers}


def _duration(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    if minutes < 120:
        return count(minutes, "minute")
    return count(minutes // 60, "hour") if minutes < 48 * 60 else count(minutes // (24 * 60), "day")
