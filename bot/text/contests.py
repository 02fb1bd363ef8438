"""Texts about the comparison of a new version with the champion, and about canaries."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from bot.localization.sentences import gettext, ngettext, number, percent, translated
from bot.text.rounds import sentence
from bot.text.sanitize import sanitize_reason
from storage.database.enums import CanaryStatus
from storage.releases.canaries import Canary
from storage.releases.evidence import CanaryState, Contest, LeftOut, Standing
from storage.releases.versions import name_of
from storage.statistics import DECISIVE
from storage.wording import gettext_noop

LEFT_OUT = {
    LeftOut.NEW: gettext_noop("by new accounts or members"),
    LeftOut.REPEATED: gettext_noop("on a question that was decided before"),
    LeftOut.BEYOND_SHARE: gettext_noop("beyond one person's share"),
    LeftOut.OPTED_OUT: gettext_noop("by people who opted out"),
    LeftOut.QUARANTINED: gettext_noop("in quarantine"),
    LeftOut.OTHER_STRENGTH: gettext_noop("where the strength is not 1"),
}
MANY_CHOICES = 500
"""From this many choices on, no estimate is shown: it would not help an admin."""
CANARY_ENDS = {
    CanaryStatus.PROMOTED: gettext_noop("won"),
    CanaryStatus.ROLLED_BACK: gettext_noop("was rolled back"),
    CanaryStatus.INCONCLUSIVE: gettext_noop("ended without a result"),
    CanaryStatus.STOPPED: gettext_noop("was stopped"),
}
NO_CANARY = gettext_noop("No canary is running.")


def describe_contest(contest: Contest) -> str:
    """Return what people chose so far, as in "v3 leads 14 to 6 in blind pairs; about 12 more choices decide"."""
    evidence, version, champion = contest.evidence, contest.rival.version.name, name_of(contest.champion)
    if not evidence.wins + evidence.losses + evidence.ties and not evidence.left_out:
        return gettext(
            "{version} waits for people's choices: nobody has compared it with {champion} yet.",
            version=version,
            champion=champion,
        )
    left = evidence.choices_left
    if evidence.needs_people:
        more = gettext("other people have to choose too before this decides")
    elif left is None or left > MANY_CHOICES:
        more = gettext("undecided so far")
    else:
        more = ngettext("about {count} more choice decide", "about {count} more choices decide", left)
    so_far = lead(version, evidence.wins, evidence.losses)
    if evidence.ties:
        so_far += " " + gettext("({ties} about the same)", ties=evidence.ties)
    if evidence.people:
        so_far += ", " + ngettext("by {count} person", "by {count} people", evidence.people)
    return " ".join(filter(None, [f"{so_far}; {translated(contest.dead_end) or more}.", _left_out(evidence)]))


def lead(version: str, wins: int, losses: int) -> str:
    """Return who leads, as in "v3 leads 14 to 6 in blind pairs"."""
    names = {"version": version, "wins": wins, "losses": losses}
    if wins == losses:
        return gettext("{version} is level {wins} to {losses} in blind pairs", **names)
    if wins > losses:
        return gettext("{version} leads {wins} to {losses} in blind pairs", **names)
    return gettext("{version} trails {wins} to {losses} in blind pairs", **names)


def _left_out(evidence: Standing) -> str:
    """Return how many choices count and why the others do not, if there are others."""
    left_out, counted = evidence.left_out, evidence.wins + evidence.losses
    others = sum(left_out.values())
    if not others:
        return ""
    return gettext(
        "{counted} of {all} choices count, the others not: {reasons}.",
        counted=counted,
        all=counted + others,
        reasons=", ".join(f"{left_out[why]} {gettext(words)}" for why, words in LEFT_OUT.items() if why in left_out),
    )


def how_to_choose(contest: Contest) -> str:
    canary, name = contest.rival.canary, contest.rival.version.name
    if canary is not None:
        return gettext(
            "A canary asks people in {share} of answers. Details: `/model canary status`", share=percent(canary.share)
        )
    return gettext(
        "Second answers in chat and `/arena start` ask people; `/model canary start {version}` asks more often",
        version=name,
    )


def describe_canary_start(version: str, canary: Canary) -> str:
    return gettext(
        "From now on, {share} of answers come with a blind second one, and **{version}** gives one of the two. "
        "People's choices decide whether it becomes the champion. To watch it: `/model canary status`. To end it: "
        "`/model canary stop`.",
        share=percent(canary.share),
        version=version,
    )


def describe_canary_stop(champion: str) -> str:
    return gettext("The canary was stopped: **{version}** stays the champion.", version=champion)


def describe_canary(state: CanaryState, now: datetime) -> str:
    """Return share, choices and evidence of the running canary, or how the last one ended."""
    if state.running is not None and state.running.rival.canary is not None:
        return _running_canary(state.running, state.running.rival.canary, now)
    if state.last is None:
        return gettext(NO_CANARY)
    end = gettext(
        "The last one, of {version}, {ended}: {reason}",
        version=state.last_challenger,
        ended=gettext(CANARY_ENDS[state.last.status]),
        reason=sanitize_reason(translated(state.last.reason)),
    )
    return f"{gettext(NO_CANARY)}\n{sentence(end)}"


def _running_canary(contest: Contest, canary: Canary, now: datetime) -> str:
    version, champion, evidence = contest.rival.version, name_of(contest.champion), contest.evidence
    why = sanitize_reason(canary.start_reason)
    lines = [
        gettext(
            "**Canary:** {share} of answers come with a blind second one; {version} gives one of the two and "
            "{champion} the other. Running for {time} (started by {who})",
            share=percent(canary.share),
            version=version.name,
            champion=champion,
            time=_duration(now - canary.started_at),
            who=f"{canary.started_by}: {why}" if why else canary.started_by,
        ),
        describe_contest(contest),
        gettext(
            "Evidence that people prefer {version}: {better} of {decisive}; that they like it less: {worse} of "
            "{decisive}. Without a result, the canary ends in {time}.",
            version=version.name,
            better=_two_digits(evidence.better),
            worse=_two_digits(evidence.worse),
            decisive=DECISIVE,
            time=_duration(max(timedelta(), canary.ends_at - now)),
        ),
    ]
    if canary.overrides_gate:
        overrode = gettext(
            "{admin} overrode the gate ({verdict})", admin=canary.started_by, verdict=gettext(version.verdict)
        )
        lines.append(f"⚠️ {overrode}: {why}")
    return "\n".join(lines)


def canary_data(state: CanaryState) -> dict[str, Any]:
    """Return the state for scripts."""
    contest, last = state.running, state.last
    if contest is None or contest.rival.canary is None:
        return {"running": False, "last": asdict(last) | {"challenger": state.last_challenger} if last else None}
    names = {"champion": name_of(contest.champion), "challenger": contest.rival.version.name}
    return {"running": True} | asdict(contest.rival.canary) | names | {"numbers": contest.numbers}


def _two_digits(evidence: float) -> str:
    return number(float(f"{evidence:.2g}"), 4)


def _duration(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    if minutes < 120:
        return ngettext("{count} minute", "{count} minutes", minutes)
    if minutes < 48 * 60:
        return ngettext("{count} hour", "{count} hours", minutes // 60)
    return ngettext("{count} day", "{count} days", minutes // (24 * 60))
