"""Answers to commands that can be longer than a message: what fits is shown, the whole text is attached."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import discord

from bot.text.splitting import MAX_MESSAGE_CHARS

IN_THE_FILE = "-# … {left} more: the attached file has everything."
CUT = "\n… the rest is too long for a file on Discord"


def fit_lines(lines: Sequence[str], last: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Return the lines if they fit; else as many whole lines as fit above `last`, where `{left}` is the number left.

    If even the first line does not fit, it is cut.
    """
    text = "\n".join(lines)
    if len(text) <= limit:
        return text
    room = limit - len(last.format(left=len(lines))) - 1
    kept, used = 0, -1
    while used + 1 + len(lines[kept]) <= room:
        used += 1 + len(lines[kept])
        kept += 1
    shown = "\n".join(lines[:kept]) or lines[0][:room]
    return f"{shown}\n{last.format(left=len(lines) - kept)}"


async def answer_in_full(
    interaction: discord.Interaction, lines: Sequence[str], whole_text: str, filename: str
) -> None:
    """Answer a deferred command privately: the lines that fit, and the whole text as a file if some do not."""
    shown = fit_lines(lines, IN_THE_FILE)
    file = discord.utils.MISSING
    if shown != "\n".join(lines):
        file = discord.File(_encode(whole_text, interaction.filesize_limit), filename)
    await interaction.followup.send(shown, file=file, ephemeral=True)


def _encode(text: str, limit_bytes: int) -> BytesIO:
    content = text.encode()
    if len(content) > limit_bytes:
        content = content[: limit_bytes - len(CUT.encode())].rsplit(b"\n", 1)[0] + CUT.encode()
    return BytesIO(content)
