"""The page for labelling pairs of answers, one key for each label, and people's own prompts for it."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web
from sqlalchemy.orm import Session

from bot.chat.taste_news import tell_privately
from bot.console.page import Here, get, post
from bot.console.pages.versions import ShownContest, show_contest, show_decision
from bot.console.suggestions import suggest_as_visitor
from bot.errors import UserFacingError
from bot.text.taste import describe_liked_so_far
from storage.conversations.control_tokens import sanitize
from storage.conversations.prompt_bank import PromptBank, parse_bank
from storage.database.enums import Basis, Label
from storage.insights.taste_report import shown_effects
from storage.sittings.agreement import RaterAgreement, read_rater_agreement
from storage.sittings.prompts import OwnPrompts, add_prompts, read_prompts, remove_prompts
from storage.sittings.sittings import (
    Sitting,
    SittingPair,
    SittingProgress,
    begin_sitting,
    end_sitting,
    label_pair,
    last_sitting,
    next_pair,
    open_sitting,
    read_progress,
    undo_label,
)
from storage.taste.likings import likings
from storage.votes.corrections import check_correction

PROMPTS_SHOWN = 20
LABELS = {
    Label.FIRST: "Left is better",
    Label.SECOND: "Right is better",
    Label.BOTH_GOOD: "Both good",
    Label.BOTH_BAD: "Both bad",
    Label.SAME: "About the same",
    Label.SKIPPED: "Skipped",
}
NOT_YOURS = "Those answers are not in your session. Reload this page."
MAX_PASTED_CHARS = 2_000_000


async def show_sitting(here: Here) -> web.Response:
    """Show the pair to label, or the way to begin."""
    sitting, prompts, agreement, contest = await here.services.database.read(_read_sitting, here)
    facts = await _desk(here, sitting) if sitting else {}
    added = {name: here.number(name) or 0 for name in ("added", "known", "too_long")}
    about = {"sitting": sitting, "prompts": prompts, "agreement": agreement, "contest": contest, "added": added}
    return here.fill("sitting.html", **about | facts)


def _read_sitting(
    session: Session, here: Here
) -> tuple[Sitting | None, OwnPrompts, RaterAgreement | None, ShownContest | None]:
    personality_id = here.personality.id
    return (
        open_sitting(session, personality_id, here.visitor.user_id),
        read_prompts(session, personality_id, PROMPTS_SHOWN),
        read_rater_agreement(session, personality_id),
        show_contest(session, here),
    )


async def begin(here: Here) -> web.Response:
    await here.run_audited(here.action("choose"), begin_sitting, here.personality.id, here.visitor.user_id)
    raise web.HTTPSeeOther(here.address("/label"))


async def show_desk(here: Here) -> web.Response:
    return await _show_desk(here, await _sitting_of(here))


async def give_label(here: Here) -> web.Response:
    """Store the person's label for a pair, and show the next one."""
    sitting = await _sitting_of(here)
    pair_id, label = here.number_in_path("pair"), here.form.choice("label", Label)
    stored = partial(label_pair, by_admin=here.may_administer)
    await here.services.database.run(stored, sitting, pair_id, label, here.author.home)
    await here.services.tastes.refresh(sitting.personality_id)
    return await _show_desk(here, sitting)


async def undo(here: Here) -> web.Response:
    sitting = await _sitting_of(here)
    await here.services.database.run(undo_label, sitting)
    await here.services.tastes.refresh(sitting.personality_id)
    return await _show_desk(here, sitting)


async def correct(here: Here) -> web.Response:
    """Store a better answer that the person wrote in place of one of the two."""
    sitting = await _sitting_of(here)
    pair = await here.services.database.read(next_pair, sitting)
    sides = {str(side.reply_id): side for side in ((pair.first, pair.second) if pair else ())}
    side = sides.get(here.form.text("reply"))
    if side is None:
        raise UserFacingError(NOT_YOURS)
    text = check_correction(sanitize(here.form.text("text")), side.text)
    action = here.action("suggest", f"answer {side.reply_id}")
    await here.run_audited(action, suggest_as_visitor, side.reply_id, here.author, text, Basis.PROMPT_BANK)
    await here.services.tastes.refresh(sitting.personality_id)
    return await _show_desk(here, sitting, corrected=side.reply_id)


async def end(here: Here) -> web.Response:
    sitting = await _sitting_of(here)
    await here.services.database.run(end_sitting, sitting.id)
    raise web.HTTPSeeOther(here.address("/label/summary"))


async def show_summary(here: Here) -> web.Response:
    """Show the results of the last sitting."""
    sitting = await here.services.database.read(last_sitting, here.personality.id, here.visitor.user_id)
    if sitting is None:
        raise web.HTTPSeeOther(here.address("/label"))
    progress = await here.services.database.read(read_progress, sitting.id)
    said = {LABELS[label]: number for label, number in progress.counts.items()}
    return here.fill("summary.html", progress=progress, said=said, learned=_learned(here))


async def _sitting_of(here: Here) -> Sitting:
    sitting = await here.services.database.read(open_sitting, here.personality.id, here.visitor.user_id)
    if sitting is None:
        raise UserFacingError("This session has ended. Reload this page to begin another.")
    return sitting


async def _show_desk(here: Here, sitting: Sitting, corrected: int | None = None) -> web.Response:
    """Return the desk alone to htmx; a key that was faster than htmx, or a browser without scripts, gets the page."""
    if not here.is_partial:
        raise web.HTTPSeeOther(here.address("/label"))
    return here.fill("desk.html", **await _desk(here, sitting, corrected))


async def _desk(here: Here, sitting: Sitting, corrected: int | None = None) -> dict[str, object]:
    """Return the desk's contents: the pair, the person's progress, and the lessons of their labels."""
    pair, progress, contest, decision = await here.services.database.read(_read_desk, here, sitting)
    # Without a pair, the next desk comes at once, and nobody could read the news.
    taste = here.services.tastes.of(here.personality.id) if pair else None
    problem = None if pair else here.drawer.take_problem(sitting)
    if problem is None:
        here.drawer.keep_ahead(sitting)
    return {
        "pair": pair,
        "progress": progress,
        "contest": contest,
        "decision": decision,
        "learned": _learned(here),
        "news": await tell_privately(here.services, here.personality.id, here.visitor.user_id, taste),
        "problem": problem,
        "corrected": corrected,
    }


def _read_desk(
    session: Session, here: Here, sitting: Sitting
) -> tuple[SittingPair | None, SittingProgress, ShownContest | None, str]:
    pair, progress = next_pair(session, sitting), read_progress(session, sitting.id)
    return pair, progress, show_contest(session, here), show_decision(session, here)


def _learned(here: Here) -> dict[str, object]:
    """Return people's likings in words, with the effects; the taste in memory may lag some seconds behind."""
    taste = here.services.tastes.of(here.personality.id)
    if taste is None or not here.services.settings.privacy.learn_from_reactions:
        return {"finding": "", "effects": ()}
    effects = shown_effects(taste, likings(taste))
    return {"finding": describe_liked_so_far(effects), "effects": effects}


async def add_own_prompts(here: Here) -> web.Response:
    """Add prompts that were pasted or uploaded, one in each line."""
    _, content = here.form.file("file")
    try:
        uploaded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserFacingError("That file is not UTF-8 text. Save it as UTF-8, one prompt in each line.") from error
    text = here.form.text("text", "", limit=MAX_PASTED_CHARS) + "\n" + uploaded
    return await _add(here, await asyncio.to_thread(parse_bank, text, "what was added"))


async def add_card_prompts(here: Here) -> web.Response:
    """Add the questions in the examples of the personality's card."""
    said = (" ".join(turn.split()) for example in here.personality.card.examples for turn in example.dialogue[::2])
    return await _add(here, parse_bank("\n".join(said), "the card"))


async def _add(here: Here, found: PromptBank) -> web.Response:
    if not found.prompts:
        raise UserFacingError("There is no prompt in it. Write one in each line.")
    texts = [prompt.text for prompt in found.prompts]
    action = here.action("add prompts", found.describe())
    await here.require_administrator(action)
    added = await here.run_audited(action, add_prompts, here.personality.id, texts, here.visitor.name)
    known = len(texts) - added + len(found.repeated_lines)
    return here.go(here.address("/label", added=added, known=known, too_long=len(found.oversized_lines)))


async def remove_own_prompts(here: Here) -> web.Response:
    action = here.action("remove prompts")
    await here.require_administrator(action)
    await here.run_audited(action, remove_prompts, here.personality.id)
    raise web.HTTPSeeOther(here.address("/label"))


ROUTES = [
    get("/label", show_sitting),
    post("/label", begin),
    get("/label/desk", show_desk),
    post(r"/label/pairs/{pair:\d+}", give_label),
    post("/label/undo", undo),
    post("/label/correct", correct),
    post("/label/end", end),
    get("/label/summary", show_summary),
    post("/label/prompts", add_own_prompts),
    post("/label/prompts/card", add_card_prompts),
    post("/label/prompts/remove", remove_own_prompts),
]
