"""The page of gaps in a server's knowledge: reported wrong answers, and a form for the right facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.page import Here, get, post
from bot.console.pages.knowledge import ServerPage, find_server
from bot.console.places import AnswerSource, source_of
from bot.knowledge.adding import from_text
from bot.knowledge.gaps import GapGroup, GapReader, name_answers, question_of
from bot.knowledge.quoting import MAX_TITLE_CHARS
from storage.database.columns import parse_id
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import Gap, settle_gaps
from storage.wording import shorten

SHOWN_GROUPS = 20
SHOWN_QUESTIONS = 5
ANSWER_CHARS = 300


@dataclass(frozen=True)
class ShownGap:
    question: str
    answer: str
    source: AnswerSource
    quoted: list[str]
    """Titles of the documents that the answer quoted."""


@dataclass(frozen=True)
class ShownGroup:
    key: int
    answers: str
    """The ids of all its answers, for its forms."""
    title: str
    """The group's question. The document gets its own title, which stays when the question is deleted."""
    members: int
    gaps: list[ShownGap]
    more: int
    """Gaps of the group that are not shown."""


async def show_gaps(here: Here) -> web.Response:
    page = find_server(here)
    groups = await _reader(page).read_groups()
    shown = await here.services.database.read(_shown, page, groups[:SHOWN_GROUPS])
    return page.fill("gaps.html", groups=shown, more=len(groups) - len(shown), done=here.number("done"))


def _reader(page: ServerPage) -> GapReader:
    channels = page.here.visitor.channels
    return GapReader(
        page.here.services, page.server.id, None if channels is None else channels.get(page.server.id, frozenset())
    )


def _shown(session: Session, page: ServerPage, groups: Sequence[GapGroup]) -> list[ShownGroup]:
    def shown(gap: Gap) -> ShownGap:
        quoted = [title for title, _ in titles_of(session, gap.document_ids)]
        answer = shorten(" ".join(gap.answer.split()), ANSWER_CHARS)
        source = source_of(page.here, page.server.id, gap.channel_id, gap.link)
        return ShownGap(question_of(gap.messages), answer, source, quoted)

    return [
        ShownGroup(
            group.key,
            ",".join(map(str, group.reply_ids)),
            shorten(group.question, MAX_TITLE_CHARS),
            group.members,
            [shown(gap) for gap in group.gaps[:SHOWN_QUESTIONS]],
            max(len(group.gaps) - SHOWN_QUESTIONS, 0),
        )
        for group in groups
    ]


async def write_document(here: Here) -> web.Response:
    """Add the document that a group of questions needs, and settle the group."""
    page, form, by = find_server(here), here.form, here.visitor.name
    reply_ids = await _find_shown(page)

    def settle(session: Session) -> None:
        settle_gaps(session, reply_ids, by)

    async with here.recorded(page.action("gap add", name_answers(reply_ids))):
        document = await here.services.library.add(
            await from_text(form.text("text", limit=None)),
            guild_id=page.server.id,
            title=form.text("title"),
            added_by=by,
            together_with=settle,
        )
    return here.go(page.address("/gaps", done=document.id))


async def settle_without_document(here: Here) -> web.Response:
    page = find_server(here)
    reply_ids = await _find_shown(page)
    action = page.action("gap settle", name_answers(reply_ids))
    await here.run_audited(action, settle_gaps, reply_ids, here.visitor.name)
    raise web.HTTPSeeOther(page.address("/gaps"))


async def _find_shown(page: ServerPage) -> list[int]:
    """Return the answers that the form was shown with, and no later one, as far as they are still gaps."""
    shown = {reply_id for part in page.here.form.text("answers").split(",") if (reply_id := parse_id(part)) is not None}
    return await _reader(page).find_open(shown)


ROUTES = [
    get("/knowledge/gaps", show_gaps),
    post("/knowledge/gaps/document", write_document),
    post("/knowledge/gaps/settle", settle_without_document),
]
