"""A server's documents in the console: added, read, replaced and removed, searched, and written about gaps."""

from __future__ import annotations

import pytest

from bot.console.pages import knowledge
from storage.database.enums import AuditOutcome, DocumentKind
from storage.database.tables import AuditRow, ChunkRow, DocumentRow, ReplyRow, VoteCauseRow
from tests.bot.cogs.test_feedback import choose
from tests.word_encoder import WordEncoder

RULES = "The pool opens at nine. Dogs stay outside."


@pytest.fixture
def load_encoder():
    return WordEncoder


@pytest.fixture
def overrides(overrides):
    return overrides | {"REACTUNE_KNOWLEDGE__MAX_FILE_BYTES": "200000"}


async def add(visitor, text=RULES, **fields):
    return await visitor.upload("/knowledge", text=text, **fields)


async def test_without_a_server_the_page_says_what_to_do(visitor):
    seen = await visitor.get("/knowledge")
    assert (seen.status, "invite me first" in seen.text) == (200, True)


class TestDocuments:
    async def test_a_text_is_added_and_the_next_answer_quotes_it(self, visitor, place, engine, rows):
        assert "This server has no documents yet." in (await visitor.get("/knowledge")).text
        seen = await add(visitor, title="House  rules", link="https://example.org/rules")
        assert "Added House rules (1 passage)." in seen.text
        assert "text · 1 passage, 42 characters · everywhere in this server" in seen.text
        (row,) = rows(DocumentRow)
        assert (row.title, row.text, row.added_by) == ("House rules", RULES, "somebody")
        (line,) = rows(AuditRow)
        assert (line.action, line.guild_id) == ("console add document", place.ada.guild.id)
        answer = await place.ask("when does the pool open")
        assert "[House rules](<https://example.org/rules>)" in answer.content

    async def test_each_file_has_its_own_sentence(self, visitor, place, rows):
        files = [
            ("rules.md", RULES.encode()),
            ("again.txt", RULES.encode()),
            ("my_tool.exe", b"MZ"),
            ("scan.pdf", b"nonsense"),
            ("big.txt", b"x" * 200_001),
            ("<b>.txt", b"Cats sleep upstairs."),
        ]
        seen = await visitor.upload("/knowledge", *files, field="files", text="")
        assert "Added rules.md (1 passage)." in seen.text
        assert "again.txt: That text is already stored as document 1 (rules.md)." in seen.text
        assert seen.text.count("my_tool.exe") == 1
        assert "my_tool.exe is not a supported file type" in seen.text
        assert "scan.pdf is damaged or not what its name says" in seen.text
        assert "big.txt is 0.2 MB; the limit (knowledge.max_file_bytes) is 0.2 MB" in seen.text
        assert "&lt;b&gt;.txt</a> (1 passage)." in seen.html
        assert [(row.title, row.kind) for row in rows(DocumentRow)] == [
            ("rules.md", DocumentKind.FILE),
            ("<b>.txt", DocumentKind.FILE),
        ]
        assert [row.outcome for row in rows(AuditRow)].count(AuditOutcome.REFUSED) == 4

    async def test_a_form_that_says_too_little_or_too_much_adds_nothing(self, visitor, place, rows):
        assert "Choose a file, or write a text." in (await add(visitor, text=" ")).text
        one = ("rules.txt", RULES.encode())
        both = await visitor.upload("/knowledge", one, field="files", text="Another.", title="Rules")
        assert "A title and a link are for one document." in both.text
        assert "must start with https://" in (await add(visitor, link="javascript:alert(1)")).text
        assert "That channel is gone." in (await add(visitor, channel="12")).text
        assert "no personality" in (await add(visitor, only_as="nobody")).text
        huge = await visitor.upload("/knowledge", ("huge.txt", b"x" * 4_100_000), field="files", text="")
        assert "send at most 4 MB at once" in huge.text
        assert rows(DocumentRow) == []

    async def test_a_document_of_one_channel_and_personality(self, visitor, place, engine):
        hidden = place.ada.guild.create_text_channel("quiet")
        await visitor.post("/personalities", name="keeper")
        seen = await add(visitor, channel=str(hidden.id), only_as="keeper")
        assert "only in #quiet, only as keeper" in seen.text
        await place.ask("when does the pool open")
        assert "quoted" not in engine.requests[0].prompt

    async def test_htmx_gets_the_sentences_and_the_new_list_and_a_fresh_form(self, visitor, place):
        added = await visitor.change("/knowledge", text=RULES)
        assert "<h1>" not in added.html
        assert added.html.count('hx-swap-oob="true"') == 2
        refused = await visitor.change("/knowledge", text=RULES)
        assert "already stored" in refused.text
        assert 'id="add-documents"' not in refused.html, "what was typed stays"

    async def test_one_document_shows_its_passages_page_by_page(self, visitor, place, monkeypatch):
        monkeypatch.setattr(knowledge, "SHOWN_PASSAGES", 1)
        await add(visitor, "# Pool\n\nIt opens at nine.\n\n# Dogs\n\nThey stay outside.", title="Rules")
        first = await visitor.get("/knowledge/1")
        assert "It opens at nine." in first.html.partition('id="passages"')[2]
        assert "They stay outside." not in first.html.partition('id="passages"')[2]
        second = await visitor.get(f"/knowledge/1?server={place.ada.guild.id}&after=0")
        assert "They stay outside." in second.html.partition('id="passages"')[2]
        assert "Next passages" not in second.text
        assert "There is no document 7" in (await visitor.get("/knowledge/7")).text

    async def test_a_text_is_replaced_and_removed(self, visitor, place, rows):
        await add(visitor, title="Rules")
        for said in ("Updated.", "It has not changed."):
            assert said in (await visitor.upload("/knowledge/1/refresh", text="The pool opens at ten.")).text
        newer = ("new.txt", b"The pool opens at eleven.")
        await visitor.upload("/knowledge/1/refresh", newer, field="files", text="")
        assert [row.text for row in rows(ChunkRow)] == ["The pool opens at eleven."]
        assert "no text" in (await visitor.upload("/knowledge/1/refresh", text="")).text
        assert "no documents yet" in (await visitor.post("/knowledge/1/remove")).text
        assert rows(ChunkRow) == []
        assert rows(AuditRow)[-1].action == "console remove document"

    async def test_a_message_is_read_again_from_discord(self, visitor, place, rows):
        said = await place.bo.send(place.channel, RULES)
        await place.grace.slash(place.channel, "knowledge add", message=said.jump_url)
        assert "Read it again from Discord" in (await visitor.get("/knowledge/1")).text
        assert "It has not changed." in (await visitor.post("/knowledge/1/refresh")).text
        assert rows(DocumentRow)[0].kind is DocumentKind.MESSAGE

    async def test_an_uploaded_file_needs_its_newer_version(self, visitor, place):
        await visitor.upload("/knowledge", ("rules.txt", RULES.encode()), field="files")
        assert "Attach its new version" in (await visitor.post("/knowledge/1/refresh")).text

    async def test_many_documents_come_a_page_at_a_time(self, visitor, place, monkeypatch):
        monkeypatch.setattr(knowledge, "SHOWN", 2)
        for number in range(3):
            await add(visitor, f"Fact {number}", title=f"Title {number}")
        first = (await visitor.get("/knowledge")).text
        assert ("Title 2" in first, "Title 1" in first, "Title 0" in first) == (True, True, False)
        second = (await visitor.get("/knowledge?before=2")).text
        assert ("Title 2" in second, "Title 1" in second, "Title 0" in second) == (False, False, True)


class TestServers:
    @pytest.fixture
    def other(self, place, env):
        return env.create_guild("Other")

    async def test_a_list_chooses_the_server(self, visitor, place, other, rows):
        await visitor.upload(f"/knowledge?server={other.id}", text=RULES, title="Theirs")
        assert rows(DocumentRow)[0].guild_id == other.id
        mine = await visitor.get(f"/knowledge?server={place.ada.guild.id}")
        assert ("Theirs" in mine.text, "Other" in mine.text) == (False, True)
        assert "There is no document 1" in (await visitor.get(f"/knowledge/1?server={place.ada.guild.id}")).text

    async def test_a_member_sees_no_other_server(self, visitor, place, other, rows, limit_visitor):
        await visitor.upload(f"/knowledge?server={other.id}", text=RULES, title="Theirs")
        limit_visitor(place.grace.id, place.ada.guild.id)
        assert "Other" not in (await visitor.get("/knowledge")).text
        for path in ("/knowledge", "/knowledge/1", "/knowledge/search", "/knowledge/gaps"):
            assert "You can't see that server" in (await visitor.get(f"{path}?server={other.id}")).text
        await visitor.post(f"/knowledge/1/remove?server={other.id}")
        assert rows(DocumentRow)[0].text == RULES


class TestSearch:
    async def test_it_shows_the_limit_and_what_was_cut(self, visitor, place):
        for number, text in enumerate((RULES, "The pool is warm.", "Beer, wine, soup, bread, and one pool table.")):
            await add(visitor, text, title=f"Text {number}")
        seen = await visitor.get("/knowledge/search?question=when+does+the+pool+open")
        assert seen.text.count("would be quoted") == 1
        assert "left out: others fit better" in seen.text
        assert "left out: below the limit similarity 0.2" in seen.text
        assert "at most 1 passage, and none if none reaches a similarity of 0.35" in seen.text

    async def test_a_question_about_nothing_finds_nothing(self, visitor, place):
        assert "Nothing was found about that." in (await visitor.get("/knowledge/search?question=tea")).text

    async def test_a_channels_document_is_found_for_that_channel(self, visitor, place):
        await add(visitor, channel=str(place.channel.id))
        asked = "/knowledge/search?question=pool"
        assert "Nothing was found" in (await visitor.get(asked)).text
        assert "would be quoted" in (await visitor.get(f"{asked}&channel={place.channel.id}")).text


class TestGaps:
    @pytest.fixture
    async def wrong(self, place, engine, rows):
        engine.answers = ["The <b>pool</b> opens at noon."]
        answer = await place.ask("when does the pool open?")
        await place.ada.react(answer, "👎")
        await choose(place, answer, "Wrong fact")
        return rows(ReplyRow)[0]

    async def test_none(self, visitor, place):
        assert "no open reports" in (await visitor.get("/knowledge/gaps")).text

    async def test_a_gap_becomes_a_document_that_the_next_answer_cites(self, visitor, place, engine, wrong, rows):
        seen = await visitor.get("/knowledge/gaps")
        assert "1 member reported a wrong fact when does the pool open?" in seen.text
        assert "The &lt;b&gt;pool" in seen.html
        path = f"/knowledge/gaps/{wrong.id}/document"
        assert "no text" in (await visitor.post(path, title="Hours", text=" ")).text
        assert rows(VoteCauseRow)[0].settled_by is None
        done = await visitor.post(path, title="Hours", text="The pool opens at nine.")
        assert "Added document 1 . The reports are settled." in done.text
        assert rows(VoteCauseRow)[0].settled_by == "somebody"
        assert [(row.action, row.outcome) for row in rows(AuditRow) if row.action.startswith("console")] == [
            ("console gap add", AuditOutcome.REFUSED),
            ("console gap add", AuditOutcome.DONE),
        ]
        assert "sources: Hours" in (await place.ask("when does the pool open?")).content

    async def test_a_gap_that_needs_no_document_is_settled(self, visitor, place, wrong, rows):
        assert "no open reports" in (await visitor.post(f"/knowledge/gaps/{wrong.id}/settle")).text
        assert rows(VoteCauseRow)[0].settled_by == "somebody"
        assert "already settled" in (await visitor.post(f"/knowledge/gaps/{wrong.id}/settle")).text

    async def test_the_answers_own_page_has_the_same_form(self, visitor, place, wrong, rows):
        page = await visitor.get(f"/answers/{wrong.id}")
        assert 'value="when does the pool open?"' in page.html
        path = f"/knowledge/gaps/{wrong.id}/document?server={place.ada.guild.id}"
        assert path in page.html
        await visitor.post(path, title="Hours", text="The pool opens at nine.")
        assert "Make it a document" not in (await visitor.get(f"/answers/{wrong.id}")).text

    async def test_a_member_reads_only_gaps_of_channels_that_they_see(
        self, visitor, place, env, wrong, rows, limit_visitor
    ):
        limit_visitor(place.grace.id, place.ada.guild.id)
        assert "when does the pool open?" in (await visitor.get("/knowledge/gaps")).text
        channel = env.bot.get_channel(place.channel.id)
        await channel.set_permissions(channel.guild.default_role, view_channel=False)
        assert "no open reports" in (await visitor.get("/knowledge/gaps")).text
        assert "already settled" in (await visitor.post(f"/knowledge/gaps/{wrong.id}/settle")).text
        assert rows(VoteCauseRow)[0].settled_by is None
