"""A server's documents in the console: added, read, replaced and removed, searched, and written about gaps."""

from __future__ import annotations

import pytest

from bot.console.pages import knowledge
from bot.knowledge import adding
from bot.knowledge.extraction import parse_markdown
from storage.database.enums import AuditOutcome, DocumentKind
from storage.database.tables import AuditRow, ChunkRow, DocumentRow, ReplyRow, VoteCauseRow
from storage.knowledge.gaps import settle_gaps
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


async def replace(visitor, *files, **fields):
    before = (await visitor.get("/knowledge/1")).value_of("before")
    return await visitor.upload("/knowledge/1/refresh", *files, before=before, **fields)


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

    @pytest.mark.threat("T16")
    async def test_a_text_is_named_by_its_heading(self, visitor, place, rows):
        await add(visitor, "# Club rules\n\nThe fee is 4 euros a month.")
        assert [row.title for row in rows(DocumentRow)] == ["Club rules"]

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

    async def test_a_file_whose_name_holds_nul_is_added_without_it(self, visitor, place, rows):
        part = "--x\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n"
        sent = part % ("csrf", visitor.csrf) + part % ("files; filename*=UTF-8''ru%00les.md", RULES) + "--x--\r\n"
        await visitor.send("/knowledge", sent.encode(), "multipart/form-data; boundary=x")
        assert [row.title for row in rows(DocumentRow)] == ["rules.md"]

    @pytest.mark.threat("T16")
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

    @pytest.mark.threat("T23")
    async def test_a_text_that_is_too_long_is_refused_before_it_is_parsed(self, visitor, place, rows, monkeypatch):
        await add(visitor)
        monkeypatch.setattr(adding, "parse_markdown", None)
        for path in ("/knowledge", "/knowledge/1/refresh"):
            seen = await visitor.upload(path, text="x" * 1_000_001)
            assert "characters; the limit is 1,000,000: split it" in seen.text
            assert len(seen.text) < 3_000
        assert [row.text for row in rows(DocumentRow)] == [RULES]
        assert "“title” has more than 10,000" in (await add(visitor, title="x" * 10_001)).text

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
            assert said in (await replace(visitor, text="The pool opens at ten.")).text
        newer = ("new.txt", b"The pool opens at eleven.")
        await replace(visitor, newer, field="files", text="")
        assert [row.text for row in rows(ChunkRow)] == ["The pool opens at eleven."]
        assert "no text" in (await replace(visitor, text="")).text
        assert "no documents yet" in (await visitor.post("/knowledge/1/remove")).text
        assert rows(ChunkRow) == []
        assert rows(AuditRow)[-1].action == "console remove document"

    async def test_a_document_that_cannot_be_indexed_is_stored_and_says_so(self, visitor, place, rows, monkeypatch):
        monkeypatch.delattr(WordEncoder, "_dimension")  # so that it fails
        assert "1 not indexed yet" in (await add(visitor)).text
        assert [row.outcome for row in rows(AuditRow)] == [AuditOutcome.DONE]

    async def test_two_admins_do_not_overwrite_each_other(self, visitor, colleague, place, rows):
        await add(visitor)
        opened = (await colleague.get("/knowledge/1")).value_of("before")
        await replace(visitor, text="The pool opens at ten.")
        for files, text in (((), "The pool opens at noon."), ((("new.txt", b"Never."),), "")):
            seen = await colleague.upload("/knowledge/1/refresh", *files, field="files", before=opened, text=text)
            assert "Someone else changed this document since you opened it" in seen.text
        assert rows(DocumentRow)[0].text == "The pool opens at ten."

    @pytest.mark.filterwarnings("ignore:Sending a large body")
    async def test_large_texts_come_as_a_form_with_files_only(self, visitor, place, rows):
        assert (await visitor.post("/knowledge", text="x" * 2_100_000)).status == 413
        assert rows(DocumentRow) == []

    async def test_a_message_is_read_again_from_discord(self, visitor, place, rows):
        said = await place.bo.send(place.channel, RULES)
        await place.grace.slash(place.channel, "knowledge add", message=said.jump_url)
        assert "Read it again from Discord" in (await visitor.get("/knowledge/1")).text
        assert "It has not changed." in (await visitor.post("/knowledge/1/refresh")).text
        assert rows(DocumentRow)[0].kind is DocumentKind.MESSAGE

    async def test_an_uploaded_file_needs_its_newer_version(self, visitor, place):
        await visitor.upload("/knowledge", ("rules.txt", RULES.encode()), field="files")
        assert "Choose a file with its new version" in (await visitor.post("/knowledge/1/refresh")).text

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

    @pytest.mark.threat("T17")
    async def test_a_member_sees_no_other_server(self, visitor, place, other, rows, limit_visitor):
        await visitor.upload(f"/knowledge?server={other.id}", text=RULES, title="Theirs")
        limit_visitor(place.grace.id, place.ada.guild.id)
        assert "Other" not in (await visitor.get("/knowledge")).text
        for path in ("/knowledge", "/knowledge/1", "/knowledge/search", "/knowledge/gaps"):
            assert "You don't have access to that server" in (await visitor.get(f"{path}?server={other.id}")).text
        await visitor.post(f"/knowledge/1/remove?server={other.id}")
        assert rows(DocumentRow)[0].text == RULES


class TestSearch:
    async def test_it_shows_the_limit_and_what_was_cut(self, visitor, place):
        for number, text in enumerate((RULES, "The pool is warm.", "Beer, wine, soup, bread, and one pool table.")):
            await add(visitor, text, title=f"Text {number}")
        seen = await visitor.get("/knowledge/search?question=when+does+the+pool+open")
        assert seen.text.count("would be quoted") == 1
        assert "left out similarity 0.2" in seen.text
        assert "for 100% of the words (pool, open) = " in seen.text
        assert "The line is quoted: it is " in seen.text

    async def test_a_channels_document_is_found_for_that_channel(self, visitor, place):
        await add(visitor, channel=str(place.channel.id))
        asked = "/knowledge/search?question=when+does+the+pool+open"
        assert "Nothing was found about that." in (await visitor.get(asked)).text
        assert "would be quoted" in (await visitor.get(f"{asked}&channel={place.channel.id}")).text


class TestGaps:
    @pytest.fixture
    async def wrong(self, place, engine, rows):
        engine.answers = ["The <b>pool</b> opens at noon."]
        answer = await place.ask("when does the pool open?")
        await place.ada.react(answer, "👎")
        await choose(place, answer, "Wrong fact")
        return rows(ReplyRow)[0]

    async def test_a_gap_becomes_a_document_that_the_next_answer_cites(self, visitor, place, engine, wrong, rows):
        seen = await visitor.get("/knowledge/gaps")
        assert "1 member reported a wrong fact when does the pool open?" in seen.text
        assert "The &lt;b&gt;pool" in seen.html
        path, answers = "/knowledge/gaps/document", seen.value_of("answers")
        assert "no text" in (await visitor.post(path, answers=answers, title="Hours", text=" ")).text
        assert rows(VoteCauseRow)[0].settled_by is None
        done = await visitor.post(path, answers=answers, title="Hours", text="The pool opens at nine.")
        assert "Added document 1 . The reports are settled." in done.text
        assert rows(VoteCauseRow)[0].settled_by == "somebody"
        assert [(row.action, row.outcome) for row in rows(AuditRow) if row.action.startswith("console")] == [
            ("console gap add", AuditOutcome.REFUSED),
            ("console gap add", AuditOutcome.DONE),
        ]
        assert "-# Hours: “The pool opens at nine.”" in (await place.ask("when does the pool open?")).content

    async def test_a_gap_that_needs_no_document_is_settled(self, visitor, place, wrong, rows):
        assert "no open reports" in (await visitor.post("/knowledge/gaps/settle", answers=str(wrong.id))).text
        assert rows(VoteCauseRow)[0].settled_by == "somebody"
        assert "already settled" in (await visitor.post("/knowledge/gaps/settle", answers=str(wrong.id))).text

    async def test_two_admins_write_one_document_about_a_gap(self, visitor, colleague, place, wrong, rows):
        for admin in (visitor, colleague):
            seen = await admin.post(
                "/knowledge/gaps/document", answers=str(wrong.id), title="Hours", text=f"{admin.csrf}: at nine."
            )
        assert "That gap is already settled." in seen.text
        assert len(rows(DocumentRow)) == 1

    async def test_the_later_of_two_at_the_same_time_adds_no_document(
        self, visitor, place, wrong, rows, monkeypatch, query
    ):
        parsed = []

        def settled_meanwhile(text):
            query(lambda session: settle_gaps(session, [wrong.id], "grace"))
            return parsed.append(text) or parse_markdown(text)

        monkeypatch.setattr(adding, "parse_markdown", settled_meanwhile)
        fields = {"answers": str(wrong.id), "title": "Hours", "text": "At nine."}
        assert "already settled" in (await visitor.post("/knowledge/gaps/document", **fields)).text
        assert (len(parsed), rows(DocumentRow)) == (1, [])

    async def test_a_report_that_came_after_the_page_stays_open(self, visitor, place, wrong, rows):
        shown = (await visitor.get("/knowledge/gaps")).value_of("answers")
        answer = await place.ask("when does the pool open?")
        await place.bo.react(answer, "👎")
        await choose(place, answer, "Wrong fact", member=place.bo)
        fields = {"title": "Hours", "text": "At nine."}
        await visitor.post("/knowledge/gaps/document", answers=shown, **fields)
        assert [row.settled_by for row in rows(VoteCauseRow)] == ["somebody", None]

    async def test_the_answers_own_page_has_the_same_form(self, visitor, place, wrong, rows):
        page = await visitor.get(f"/answers/{wrong.id}")
        assert "when does the pool open?" in page.html
        path = f"/knowledge/gaps/document?server={place.ada.guild.id}"
        assert path in page.html
        await visitor.post(path, answers=page.value_of("answers"), title="Hours", text="The pool opens at nine.")
        assert "Make it a document" not in (await visitor.get(f"/answers/{wrong.id}")).text

    @pytest.mark.threat("T17")
    async def test_a_member_reads_only_gaps_of_channels_that_they_see(
        self, visitor, place, env, wrong, rows, limit_visitor
    ):
        limit_visitor(place.grace.id, place.ada.guild.id)
        assert "when does the pool open?" in (await visitor.get("/knowledge/gaps")).text
        channel = env.bot.get_channel(place.channel.id)
        await channel.set_permissions(channel.guild.default_role, view_channel=False)
        assert "no open reports" in (await visitor.get("/knowledge/gaps")).text
        assert "already settled" in (await visitor.post("/knowledge/gaps/settle", answers=str(wrong.id))).text
        assert rows(VoteCauseRow)[0].settled_by is None
