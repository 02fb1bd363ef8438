"""The pages of the console."""

from __future__ import annotations

from bot.console.pages import (
    answer,
    answers,
    bindings,
    card_files,
    comparison,
    gaps,
    knowledge,
    overview,
    personalities,
    playground,
    prompts,
    rounds,
    sitting,
    trust,
    versions,
)

_PAGES = (
    overview,
    sitting,
    prompts,
    answers,
    answer,
    knowledge,
    gaps,
    versions,
    comparison,
    rounds,
    personalities,
    card_files,
    bindings,
    playground,
    trust,
)

ROUTES = [route for page in _PAGES for route in page.ROUTES]
