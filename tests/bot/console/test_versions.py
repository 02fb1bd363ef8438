"""Versions: what people chose, the tree, answers side by side, and two admins at once."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import update

from storage.database.columns import utc_now
from storage.database.enums import OPERATOR, AuditOutcome, GateVerdict, RoundStatus
from storage.database.tables import AuditRow, VersionRow
from storage.releases.contests import read_contest
from storage.releases.versions import note_contest, read_alias
from storage.settings.sections import VoteSettings
from storage.training.rounds import claim_round, finish_round, request_round
from storage.votes.comparisons import Better, compare
from tests.seeding import ask_twice, choose, compared_metrics

CHANGED = "Someone else just changed the version in use: check the change, then try again."


@pytest.fixture
def champion(query):
    return lambda: query(lambda session: read_alias(session, 1).target)


def seen(page) -> dict[str, str]:
    """Return what a form of the page says that its reader saw."""
    return {"seen": page.value_of("seen")}


def options(select: str) -> list[str]:
    """Return the words of what a choice offers."""
    return re.findall(r'<option(?: value="[^"]*")?(?: selected)?>([^<(]*?)(?: \(answers now\))?<', select)


class TestList:
    async def test_what_people_chose_stands_beside_the_version(self, visitor, add_version, query):
        query(lambda session: request_round(session, 1, "somebody"))
        v1 = add_version(1.0, GateVerdict.NOT_ENOUGH_EVIDENCE, round_id=1)

        def chosen(session):
            choose(session, v1, None, wins=5, losses=1)
            note_contest(session, v1, read_contest(session, 1, VoteSettings()).numbers)

        query(chosen)
        text = (await visitor.get("/versions")).text
        assert "v1 leads 5 to 1 in blind comparisons, by 6 members; about 8 more choices decide." in text
        assert "passed the checks; members' choices decide" in text

    async def test_the_bar_counts_the_choices_of_which_the_sentence_tells(self, visitor, waiting, query):
        v1 = waiting(1.0)

        def chosen(session):
            choose(session, v1, None, wins=5, losses=1)
            for _ in range(2):
                compare(session, *ask_twice(session, v1, None), OPERATOR, Better.SECOND, by_admin=True)

        query(chosen)
        page = await visitor.get("/versions")
        assert "you 0 to 2, members 5 to 1" in page.text
        assert "About 8 more choices decide between v1 and base." in page.text
        assert '<progress max="14" value="6"' in page.html

    async def test_only_versions_that_can_answer_are_offered_and_the_newest_of_them_is_preselected(
        self, visitor, add_version, query
    ):
        for value in (1.0, 2.0, 3.0):
            add_version(value)
        query(lambda session: session.execute(update(VersionRow).filter_by(number=2).values(base_revision="f" * 64)))
        query(lambda session: session.execute(update(VersionRow).filter_by(number=3).values(withdrawn_at=utc_now())))
        page = (await visitor.get("/versions")).html
        promotable, first, second = re.findall(r"<select.*?</select>", page, re.DOTALL)
        assert [options(one) for one in (promotable, first, second)] == [["v1"], ["v1", "base"], ["v1", "base"]]
        assert "<option selected>base" in first
        assert "<option selected>v1" in second
        assert all(f'href="/versions/v{number}' in page for number in (1, 2, 3)), "the table stays whole"
        tried, beside, _ = re.findall(r"<select.*?</select>", (await visitor.get("/playground")).html, re.DOTALL)
        assert (options(tried), options(beside)) == (["v1", "base"], ["nothing", "v1", "base"])

    async def test_an_imported_version_is_never_said_to_have_passed_the_checks(self, visitor, waiting):
        waiting(1.0)
        for path in ("/versions", "/versions/v1"):
            assert "not checked, because it was imported; members' choices decide" in (await visitor.get(path)).text
        await visitor.post("/versions/promote", version="v1", override="on", reason="just trying", seen="0")
        text = (await visitor.get("/versions/v1")).text
        assert "promoted it, although it was not ready: just trying" in text
        assert "the checks" not in text

    async def test_why_a_version_is_ready_is_said(self, visitor, add_version, query):
        add_version(1.0)
        decided = {"wins": 9, "losses": 0, "reason": "people prefer v1 to base: 9 to 0"}
        query(lambda session: session.execute(update(VersionRow).values(contest=decided)))
        assert "is ready: people prefer v1 to base: 9 to 0" in (await visitor.get("/versions")).text

    async def test_the_tree_is_drawn_and_told(self, visitor, release, add_version):
        release(1.0)
        add_version(2.0)
        page = await visitor.get("/versions")
        assert len(re.findall("<circle", page.html)) == 3
        assert '<g class="champion"><circle' in page.html
        assert "v1 came from base: answers now" in page.text
        assert "v2 came from v1" in page.text


async def test_a_version_and_its_round_show_the_same_messages_before_and_after(visitor, add_version, query):
    query(lambda session: request_round(session, 1, "somebody"))
    query(lambda session: claim_round(session, "here"))
    version = add_version(1.0, metrics=compared_metrics("Fine! <b>And</b> you?", said_before=""))
    query(lambda s: s.execute(update(VersionRow).where(VersionRow.id == version.id).values(round_id=1)))
    query(lambda session: finish_round(session, 1, RoundStatus.PUBLISHED, "v1 learned from 12 pairs", {}))
    for path in ("/versions/v1", "/rounds", "/rounds/newest"):
        text = (await visitor.get(path)).text
        assert "Hi, how are you? base (empty answer) v1 Fine! <b>And</b> you? What is tea? base" in text, path
        assert "chosen by nobody" in text


async def test_a_finished_round_begins_with_what_changed_and_leads_to_the_comparison(visitor, waiting, query):
    query(lambda session: request_round(session, 1, "somebody"))
    query(lambda session: claim_round(session, "here"))
    version = waiting(1.0)
    changed = {
        "changes": [{"measure": "words", "is_more": False, "answers": 40}],
        "messages": 60,
        "fitness": {"probability": 0.7, "probability_base": 0.71, "error": 0.02},
        "pairs": 12,
    }

    def finish(session):
        shown = {"round_id": 1, "metrics": compared_metrics("Fine!", said_before="Well, hello.") | changed}
        session.execute(update(VersionRow).where(VersionRow.id == version.id).values(**shown))
        choose(session, version, None, wins=5, losses=1)
        finish_round(session, 1, RoundStatus.PUBLISHED, "v1 learned from 12 pairs", changed)

    query(finish)
    text = (await visitor.get("/rounds")).text
    in_order = (
        "What changed: of 60 answers to the same messages, compared with the base's, 40 moved towards shorter answers.",
        "They fit their messages as well as the base's.",
        "Hi, how are you? base Well, hello. v1 Fine!",
        "v1 learned from 12 pairs.",
        "v1 leads 5 to 1 in blind comparisons, by 6 members; about 8 more choices decide.",
        "Compare v1 with base",
        "Details",
        "12 pairs trained on",
    )
    places = [text.index(words) for words in in_order]
    assert places == sorted(places)


class TestTwoAdmins:
    """Each decides on a page that the other has not changed yet."""

    async def test_only_one_promotes(self, visitor, colleague, add_version, champion, rows):
        add_version(1.0)
        add_version(2.0)
        one, other = await visitor.get("/versions"), await colleague.get("/versions")
        await visitor.change("/versions/promote", version="v1", **seen(one))
        refused = await colleague.change("/versions/promote", version="v2", **seen(other))
        assert refused.text == CHANGED
        assert champion() == "v1"
        assert [row.outcome for row in rows(AuditRow)] == [AuditOutcome.DONE, AuditOutcome.REFUSED]
        again = await colleague.change("/versions/promote", version="v1", **seen(other))
        assert again.text == "v1 is already in use: nothing was changed."

    @pytest.mark.threat("T24")
    async def test_a_roll_back_undoes_only_what_was_seen(self, visitor, colleague, release, add_version, champion):
        release(1.0)
        add_version(2.0)
        one, other = await visitor.get("/versions"), await colleague.get("/versions")
        await visitor.change("/versions/promote", version="v2", **seen(one))
        refused = await colleague.change("/versions/rollback", reason="", **seen(other))
        assert refused.text == CHANGED.replace("1, not 0", "2, not 1")
        assert champion() == "v2"


class TestSideBySide:
    async def test_two_versions_answer(self, visitor, add_version, engine):
        add_version(1.0)
        engine.answers = ["*from* v1 <b>", "from the base"]
        seen = await visitor.change("/versions/compare", a="v1", b="base", prompt="Tea?")
        assert "<em>from</em> v1 &lt;b&gt;" in seen.html
        assert "from the base" in seen.text
        assert "Both are base" in (await visitor.change("/versions/compare", a="base", b="base", prompt="")).text

    async def test_every_line_is_a_prompt_up_to_a_limit(self, visitor, add_version, engine):
        add_version(1.0)
        seen = await visitor.change("/versions/compare", a="v1", b="base", prompt="Tea?\n\n Rain? ")
        assert re.findall("<h3.*?>(.*?)</h3>", seen.html) == ["Tea?", "Rain?"]
        assert 'type="radio"' not in seen.html
        many = "\n".join(f"{number}?" for number in range(9))
        refused = await visitor.change("/versions/compare", a="v1", b="base", prompt=many)
        assert "These are 9 prompts: ask at most 8 at once." in refused.text

    async def test_blind_they_stand_in_random_order_with_a_choice_for_each_pair(self, visitor, add_version, engine):
        add_version(1.0)
        orders = set()
        for _ in range(8):
            seen = await visitor.change("/versions/compare", a="v1", b="base", prompt="A?\nB?\nC?", blind="on")
            names = re.findall('<h4 class="who">(.*?)</h4>', seen.html)
            orders |= {tuple(names[i : i + 2]) for i in (0, 2, 4)}
        assert orders == {("v1", "base"), ("base", "v1")}
        assert re.findall('name="(better-\\d)" required', seen.html) == [f"better-{i}" for i in (1, 1, 2, 2, 3, 3)]
