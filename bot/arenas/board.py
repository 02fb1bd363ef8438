"""What members see of an arena: blind while it is open, with versions and votes once it is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import discord

from bot.text.rounds import bar, sentence
from bot.text.sanitize import escape_inline, sanitize_markdown
from bot.text.splitting import split_message
from storage.database.enums import ArenaStatus
from storage.settings.sections import OutputSettings
from storage.votes.arenas import Arena, ArenaAnswer
from storage.wording import count, message_link

ROOM_CHARS = 5_200  # all embeds of a message hold 6,000 characters, the titles and bars included
LONGEST_ANSWER_CHARS = 4_000  # Discord's limit for one embed is 4,096
ELLIPSIS = " …"
QUOTED_CHARS = 60
BLIND, WINNER, OTHER = discord.Colour.blurple(), discord.Colour.gold(), discord.Colour.light_grey()

CLOSED = "This arena is closed."
WITHDRAWN = "Your pick is withdrawn. Press a number to vote again."


@dataclass(frozen=True)
class Board:
    content: str
    embeds: list[discord.Embed]


def preparing(ready: int, places: int) -> str:
    return f"Preparing an arena … {ready} of {places} answers ready"


def failed(reason: str) -> str:
    return f"There is no arena here. {sentence(reason)}"


def describe_pick(picked: int | None) -> str:
    if picked is None:
        return WITHDRAWN
    return f"You picked {picked}. Press another number to change, or {picked} again to take it back."


def describe_start(arena: Arena) -> str:
    if arena.status is ArenaStatus.FAILED:
        return failed(arena.reason)
    link = message_link(arena.guild_id, arena.channel_id, arena.message_id)
    return f"The arena is being prepared: {link}. `/arena stop` closes it early."


def describe_stop(arena: Arena) -> str:
    if arena.status is ArenaStatus.OPEN:
        return "The arena takes no more votes. Its results are shown as soon as Discord takes them."
    return CLOSED if arena.status is ArenaStatus.CLOSED else failed(arena.reason)


def blind_board(arena: Arena, answers: Sequence[ArenaAnswer], output: OutputSettings) -> Board:
    """Return the open arena: the answers by their numbers, without versions and counts."""
    content = (
        f"**Which answer is best?** Press its number. Closes {relative(arena.closes_at)}.\n"
        "-# Who gave which answer, and how many picked it, is shown when it closes.\n"
        f">>> {sanitize_markdown(arena.prompt, output)}"
    )
    embeds = [
        discord.Embed(title=str(answer.position), description=text, colour=BLIND)
        for answer, text in zip(answers, _shown(answers, output), strict=True)
    ]
    return Board(content, embeds)


def results_board(arena: Arena, answers: Sequence[ArenaAnswer], output: OutputSettings) -> Board:
    """Return the closed arena: who gave which answer, and how many picked it."""
    winners = best_of(answers)
    texts = _shown(answers, output)
    embeds = [_result(answer, text, answers, winners) for answer, text in zip(answers, texts, strict=True)]
    return Board(f"**{CLOSED}** {outcome(answers)}\n>>> {sanitize_markdown(arena.prompt, output)}", embeds)


def outcome(answers: Sequence[ArenaAnswer]) -> str:
    """Say in a sentence who won."""
    winners = best_of(answers)
    if not winners:
        return "Nobody voted."
    voters = sum(answer.picks for answer in answers)
    if len(winners) > 1:
        tied = ", ".join(f"{answer.position} ({answer.version})" for answer in winners)
        return f"A tie between {tied}: {winners[0].picks} of {voters} votes each."
    (winner,) = winners
    return f"Answer {winner.position} by **{winner.version}** won with {winner.picks} of {count(voters, 'vote')}."


def best_of(answers: Sequence[ArenaAnswer]) -> list[ArenaAnswer]:
    """Return the answers with the most picks; none where nobody voted."""
    most = max((answer.picks for answer in answers), default=0)
    return [answer for answer in answers if answer.picks == most and most]


def describe_arena(arena: Arena, answers: Sequence[ArenaAnswer]) -> str:
    """Return a line for admins; of an open arena it tells how many voted, not for what."""
    quoted = arena.prompt if len(arena.prompt) <= QUOTED_CHARS else arena.prompt[: QUOTED_CHARS - 2] + ELLIPSIS
    return f"<#{arena.channel_id}> · {escape_inline(quoted)} · {_state(arena, answers)}"


def _state(arena: Arena, answers: Sequence[ArenaAnswer]) -> str:
    if arena.status is ArenaStatus.PREPARING:
        return "is being prepared"
    if arena.status is ArenaStatus.OPEN:
        voters = sum(answer.picks for answer in answers)
        return f"closes {relative(arena.closes_at)} · {count(voters, 'vote')} so far"
    return f"failed: {arena.reason}" if arena.status is ArenaStatus.FAILED else outcome(answers)


def relative(moment: datetime) -> str:
    return discord.utils.format_dt(moment, "R")


def _shown(answers: Sequence[ArenaAnswer], output: OutputSettings) -> list[str]:
    return fit_fairly([sanitize_markdown(answer.text, output) for answer in answers])


def fit_fairly(texts: Sequence[str]) -> list[str]:
    """Return the texts, the longest of them cut to one length, so that together they fit into a message."""
    longest = min(share_room([len(text) for text in texts], ROOM_CHARS), LONGEST_ANSWER_CHARS)
    return [text if len(text) <= longest else _cut(text, longest) for text in texts]


def share_room(lengths: Sequence[int], room: int) -> int:
    """Return the length that no text may exceed, as large as it can be for all of them to fit into `room`."""
    for position, length in enumerate(sorted(lengths)):
        share = room // (len(lengths) - position)
        if length > share:
            return share
        room -= length
    return max(lengths, default=0)


def _cut(text: str, limit: int) -> str:
    return split_message(text, limit - len(ELLIPSIS))[0] + ELLIPSIS


def _result(
    answer: ArenaAnswer, text: str, answers: Sequence[ArenaAnswer], winners: Sequence[ArenaAnswer]
) -> discord.Embed:
    won = answer in winners
    title = f"{answer.position} · {answer.version}{' 🏆' if won else ''}"
    embed = discord.Embed(title=title, description=text, colour=WINNER if won else OTHER)
    return embed.set_footer(text=_bar(answer.picks, sum(other.picks for other in answers)))


def _bar(picks: int, voters: int) -> str:
    return f"{bar(picks / voters if voters else 0.0)} {count(picks, 'vote')}"
