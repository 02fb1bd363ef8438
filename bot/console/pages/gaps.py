"""The page of gaps in a server's knowledge: what people reported as wrong, and a form for the right facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.page import read_form
from bot.console.pages.knowledge import ServerPage, find_server
from bot.console.places import AnswerSource, source_of
from bot.knowledge.adding import from_text
from bot.knowledge.gaps import GapGroup, GapReader, question_of
from bot.knowledge.quoting import MAX_TITLE_CHARS
from bot.text.splitting import shorten
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import Gap, settle_gaps

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
    title: str
    """For the document about it."""
    members: int
    gaps: list[ShownGap]
    more: int
    """Gaps of the group that are not shown."""


async def show_gaps(request: web.Request) -> web.Response:
    page = await find_server(request)
    groups = await _reader(page).read_groups()
    shown = await page.here.services.database.read(_shown, page, groups[:SHOWN_GROUPS])
    done = request.query.get("done", "")
    return page.fill("gaps.html", groups=shown, more=len(groups) - len(shown), done=done if done.isdecimal() else "")


def _reader(page: ServerPage) -> GapReader:
    return GapReader(page.here.services, page.server, page.reader)


def _shown(session: Session, page: ServerPage, groups: Sequence[GapGroup]) -> list[ShownGroup]:
    def shown(gap: Gap) -> ShownGap:
        quoted = [title for title, _ in titles_of(session, gap.document_ids)]
        answer = shorten(" ".join(gap.answer.split()), ANSWER_CHARS)
        source = source_of(page.here, page.server.id, gap.channel_id, gap.link)
        return ShownGap(question_of(gap.messages), answer, source, quoted)

    return [
        ShownGroup(
            group.key,
            shorten(group.question, MAX_TITLE_CHARS),
            group.members,
            [shown(gap) for gap in group.gaps[:SHOWN_QUESTIONS]],
            max(len(group.gaps) - SHOWN_QUESTIONS, 0),
        )
        for group in groups
    ]


async def write_document(request: web.Request) -> web.Response:
    """Add the document that a group of questions needs, and settle the group."""
    page, form = await find_server(request), await read_form(request)
    group, by = await _find_group(page), page.here.visitor.name
    async with page.here.recorded(page.action("gap add", group.subject)):
        document = await page.here.services.library.add(
            from_text(form.text("text")), guild_id=page.server.id, title=form.text("title"), added_by=by
        )
        # Last, so that a refused document leaves the gap open.
        await page.here.services.database.run(settle_gaps, group.reply_ids, by)
    return page.here.go(page.address("/gaps", done=document.id))


async def settle_without_document(request: web.Request) -> web.Response:
    page = await find_server(request)
    group = await _find_group(page)
    action = page.action("gap settle", group.subject)
    await page.here.run_audited(action, settle_gaps, group.reply_ids, page.here.visitor.name)
    raise web.HTTPSeeOther(page.address("/gaps"))


async def _find_group(page: ServerPage) -> GapGroup:
    return await _reader(page).find_group(int(page.here.request.match_info["reply"]))


ONE = r"/knowledge/gaps/{reply:\d{1,18}}"
ROUTES = [
    web.get("/knowledge/gaps", show_gaps),
    web.post(f"{ONE}/document", write_document),
    web.post(f"{ONE}/settle", settle_without_document),
]
