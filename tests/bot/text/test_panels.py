"""A panel holds what Discord takes, whatever is put into it."""

from __future__ import annotations

import discord
from hypothesis import given
from hypothesis import strategies as st
from simcord.components import COMPONENTS_V2_FLAG, validate_components

from bot.text.panels import ELLIPSIS, MAX_PANEL_CHARS, fit_blocks, text_panel


async def test_blocks_have_lines_between_them_and_the_picture_stands_below() -> None:
    shown = text_panel(["one", "", "two"], "report.png", "a curve")
    kinds = [type(part) for part in shown.walk_children()]
    text, line = discord.ui.TextDisplay, discord.ui.Separator
    assert kinds == [discord.ui.Container, text, line, text, discord.ui.MediaGallery]
    assert shown.is_finished()  # or it would wait for presses


@given(st.lists(st.text(max_size=3_000), min_size=1, max_size=6))
def test_any_blocks_fit(blocks: list[str]) -> None:
    fitted = fit_blocks(blocks)
    assert sum(map(len, fitted)) <= MAX_PANEL_CHARS
    whole = [block.strip() for block in blocks if block.strip()]
    if sum(map(len, whole)) <= MAX_PANEL_CHARS:
        assert fitted == whole
    elif fitted:
        assert fitted[:-1] == whole[: len(fitted) - 1]
        assert fitted[-1] == whole[len(fitted) - 1] or fitted[-1].endswith(ELLIPSIS)
    validate_components(text_panel(["title", *blocks]).to_components(), flags=COMPONENTS_V2_FLAG)
