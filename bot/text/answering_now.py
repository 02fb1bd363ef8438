"""Words for what shapes the answers now: every page says it in these."""

from __future__ import annotations

from bot.localization.sentences import gettext, ngettext
from storage.insights.answering_now import AnsweringNow


def describe_now(now: AnsweringNow) -> str:
    """Return what shapes the answers besides the version, or in place of one."""
    if now.champion is None and now.taste_acts:
        learned = gettext("No version answers yet, but people's votes already shape the answers.")
        return " ".join([learned, *what_acts(now)])
    if now.champion is not None or now.is_switched_off:
        return " ".join(what_acts(now))
    if now.follows_card:
        return gettext("The personality has not learned yet and follows the examples on its card.")
    return gettext("The personality has not learned yet.")


def what_acts(now: AnsweringNow) -> list[str]:
    """Return sentences about what acts without a version, or beside it."""
    said = []
    if now.is_switched_off:
        said.append(
            gettext(
                "An admin has switched the taste off: it chooses no answers, and neither examples nor rounds follow "
                "it. `/taste switch:on` brings it back."
            )
        )
    if now.chooses:
        said.append(gettext("I begin several answers and finish the one that people would like best."))
    if now.liked:
        said.append(
            ngettext(
                "I follow {count} example that I wrote myself, in the style that people like.",
                "I follow {count} examples that I wrote myself, in the style that people like.",
                len(now.liked),
            )
        )
    if now.order:
        said.append(gettext("I follow one order, because it brings what people like: “{order}”", order=now.order))
    if now.follows_card:
        said.append(gettext("I follow the examples on the card."))
    return said
