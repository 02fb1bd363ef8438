"""The texts of `reactune base`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from storage.releases.base_change import MovedChampion, UsedBase
from storage.releases.bases import ConfiguredBase
from storage.settings.loading import variable_name
from storage.training.rounds import Round
from storage.wording import count, format_bytes

if TYPE_CHECKING:
    from storage.models.base_offer import BaseOffer

SEES = "the base sees, so it looks at pictures itself where transformers answers and no `pictures.server` is set"


@dataclass(frozen=True)
class ChangedBase:
    base: ConfiguredBase
    before: str
    """The former value of model.base."""
    moved: tuple[MovedChampion, ...]
    others: tuple[UsedBase, ...]
    """Other bases that were used, the latest first."""
    votes: int
    """Current votes on answers of all bases."""
    is_running: bool
    """Whether a bot runs; it keeps the base that it started with."""
    overridden_in: str | None
    """Place of the variable that overrides the settings file; None without one."""


@dataclass(frozen=True)
class Lesson:
    """A round of one personality, and the version that it made if that leads now."""

    personality: str
    round: Round
    champion: str | None


def describe_offer(offer: BaseOffer) -> str:
    lines = [f"Base model: {offer.name}", f"Licence: {offer.licence}"]
    if offer.licence_text:
        lines += ["", offer.licence_text, ""]
    if offer.on_hub and offer.licence == "unknown":
        lines.append(f"Its page on the hub says under which terms it may be used: {offer.on_hub.page}")
    if offer.weight_bytes:
        lines.append(f"Chat template: works. Weights: {format_bytes(offer.weight_bytes)}.")
    if offer.sees:
        lines.append(f"Pictures: {SEES}.")
    if offer.download_bytes:
        lines.append(f"Download: {format_bytes(offer.download_bytes)}.")
    return "\n".join(lines)


def describe_base_models(offer: BaseOffer | str, used: Sequence[UsedBase]) -> str:
    """Describe the base, or say in the given sentence why it cannot be used, and list those used before."""
    lines = [offer] if isinstance(offer, str) else _offer_lines(offer, used)
    if used:
        lines.append("**Bases used, the latest first:**")
    lines += [
        f"- **{one.use.name}** since {one.use.begun_at:%Y-%m-%d %H:%M} UTC · {count(one.versions, 'version')} · "
        f"{count(one.votes, 'vote')} · `reactune base use {quote(one.use.setting)}`"
        for one in used
    ]
    return "\n".join(lines)


def _offer_lines(offer: BaseOffer, used: Sequence[UsedBase]) -> list[str]:
    lines = [f"**Base:** {offer.name} (`model.base = {offer.setting}`) · licence: {offer.licence}"]
    if offer.weight_bytes:
        lines.append(f"**Weights:** {format_bytes(offer.weight_bytes)}")
    if offer.download_bytes:
        lines.append(f"**Still to download:** {format_bytes(offer.download_bytes)}")
    if offer.sees:
        lines.append(f"**Pictures:** {SEES}.")
    if used and used[0].use.setting != offer.setting:
        lines.append(f"{used[0].use.name} still answers: start the bot again, so that {offer.name} does.")
    return lines


def describe_changed_base(change: ChangedBase) -> str:
    name, setting = change.base.name, change.base.setting
    if change.overridden_in:
        variable = variable_name("model", "base")
        return (
            f"**{name}** is ready, but nothing was changed: {variable} in {change.overridden_in} overrides the "
            f"settings file. Set {variable}={setting} there, then start the bot again."
        )
    lines = [f"**{name}** is the base model now (`model.base = {setting}`)."]
    if change.is_running:
        lines.append("The running bot keeps the old one: start it again. Its versions change then.")
    lines += [f"- {moved.personality}: {moved.after} answers now (before: {moved.before})." for moved in change.moved]
    lines += [
        count(
            one.versions,
            f"version of {one.use.name} stays stored. It answers",
            f"versions of {one.use.name} stay stored. They answer",
        )
        + f" again after `reactune base use {quote(one.use.setting)}`."
        for one in change.others
        if one.versions
    ]
    if change.votes:
        votes = count(change.votes, "vote counts", "votes count")
        lines.append(f"{votes} for the next round and in what people like, whichever base answered.")
    lines.append("Next: `reactune base teach` teaches the personalities on it." + _way_back(change))
    return "\n".join(lines)


def _way_back(change: ChangedBase) -> str:
    if change.others:
        return " `reactune base back` goes back."
    return "" if change.before == change.base.setting else f" `reactune base use {quote(change.before)}` goes back."


def describe_lessons(lessons: Sequence[Lesson]) -> str:
    return "\n".join(
        f"- **{lesson.personality}** from {lesson.round.learns_from}: {lesson.round.status} (round {lesson.round.id})"
        + (f": {lesson.round.reason}" if lesson.round.reason else "")
        + (f". **{lesson.champion}** answers now." if lesson.champion else "")
        for lesson in lessons
    )
