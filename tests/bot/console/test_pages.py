"""Overview, versions and rounds show what the commands say, and do what they do."""

from __future__ import annotations

import re
import sys

from storage.database.enums import AuditOutcome, Cause, GateVerdict, RoundStatus, TrainingSource
from storage.database.tables import AliasMoveRow, AuditRow, PersonalityRow, RoundRow
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, create_personality, read_personality
from storage.releases.versions import read_alias
from storage.training.rounds import claim_round, finish_round, report_progress, request_round
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import give_cause
from storage.votes.votes import Vote
from tests.seeding import ALICE, account, add_reply, add_taste, ask_twice, vote

PROGRESS = {"stage": 3, "stages": 5, "doing": "Training the new version", "share": 0.25, "seconds_left": 100.0}
GONE = 404
"""A server that the bot has left."""


async def test_an_empty_server_has_whole_pages(visitor):
    for path in ("/", "/label", "/versions", "/rounds"):
        seen = await visitor.get(path)
        assert (seen.status, seen.headers["Cache-Control"]) == (200, "no-store"), path


async def test_the_overview_says_who_answers_and_what_people_like(visitor, place):
    await place.ada.react(await place.ask("hi"), "👍")
    assert "The base answers now" in (await visitor.get("/")).text
    status = (await visitor.get("/overview/status")).text
    assert "Version in use: base on tiny" in status
    assert "Votes: 1" in status
    assert "After 1 vote by 1 member" in (await visitor.get("/overview/taste")).text
    assert re.search(
        r'src="data:image/png;base64,\w+.*alt="The base answers now', (await visitor.get("/overview/report")).html
    )


async def test_an_admin_promotes_and_rolls_back(visitor, add_version, query, rows):
    add_version(1.0)
    assert "v1" in (await visitor.post("/versions/promote", version="v1", reason="nicer", seen="0")).text
    assert query(lambda session: read_alias(session, 1).target) == "v1"
    assert "answers now" in (await visitor.get("/versions")).text
    await visitor.post("/versions/rollback", reason="", seen="1")
    assert query(lambda session: read_alias(session, 1).target) == "base"
    assert [row.action for row in rows(AuditRow)] == ["console promote", "console roll back"]
    assert rows(AuditRow)[0].reason == "nicer"


async def test_an_admin_switches_the_taste_off_and_on(visitor, add_version, query, rows):
    add_version(1.0)
    query(lambda session: add_taste(session, 40))
    assert "begin several answers" in (await visitor.get("/overview/taste")).text
    after = await visitor.post("/taste/switch", switch="off", page="/versions")
    assert after.path == "/versions"
    assert "Answers, examples and rounds do not follow what members like." in after.text
    assert [row.follows_taste for row in rows(PersonalityRow)] == [False]
    for page in ("/overview/taste", "/overview/status", "/versions/list"):
        assert "An admin has decided that answers, examples and rounds" in (await visitor.get(page)).text
    assert "set not to follow what members like" in (await visitor.get("/personalities")).text
    assert (await visitor.post("/taste/switch", switch="on", page="/")).path == "/"
    assert [row.follows_taste for row in rows(PersonalityRow)] == [True]
    assert [(row.action, row.subject) for row in rows(AuditRow)] == [
        ("console taste switch", "off, of default"),
        ("console taste switch", "on, of default"),
    ]


async def test_a_version_that_waits_needs_an_override_with_a_reason(visitor, waiting, query, rows):
    waiting(1.0)
    assert "is not ready" in (await visitor.post("/versions/promote", version="v1", seen="0")).text
    refused = await visitor.post("/versions/promote", version="v1", override="on", reason=" ", seen="0")
    assert "needs a reason" in refused.text
    assert rows(AliasMoveRow) == []
    assert [row.outcome for row in rows(AuditRow)] == [AuditOutcome.REFUSED] * 2
    await visitor.post("/versions/promote", version="v1", override="on", reason="I like it", seen="0")
    assert query(lambda session: read_alias(session, 1).target) == "v1"


async def test_a_version_shows_where_it_comes_from(visitor, add_version):
    add_version(1.0, GateVerdict.FAIL)
    page = await visitor.get("/versions/v1")
    text, folded = page.text, page.html.partition("<summary>Measurements")[2]
    assert "failed the checks" in text
    assert "Adapter" in folded
    assert "failed the checks" not in folded
    assert "v1 (v1 ← base) was made in 0 rounds" in text
    assert "There is no version v7" in (await visitor.get("/versions/v7")).text


async def test_pages_name_a_command_that_works_where_the_bot_was_called(visitor, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [".venv/bin/reactune", "bot"])
    assert "start it with .venv/bin/reactune trainer" in (await visitor.get("/overview/status")).text


async def test_a_running_round_is_followed_and_a_finished_one_kept(visitor, query, rows):
    for _ in range(2):
        assert "Waiting for the trainer" in (await visitor.post("/rounds")).text
    assert [row.id for row in rows(RoundRow)] == [1], "a second request shows the open round"
    assert "No trainer is running" in (await visitor.get("/rounds/newest")).text
    query(lambda session: claim_round(session, "here"))
    assert "Starting Requested by" in (await visitor.get("/rounds/newest")).text
    query(lambda session: report_progress(session, 1, PROGRESS))
    running = await visitor.get("/rounds/newest")
    assert "Step 3 of 5: Training the new version · about 2 min left, longer if a check fails" in running.text
    assert running.html.count('max="1" value="0.25"') == 1
    assert "░" not in running.text
    assert 'hx-trigger="every 2s"' in running.html, "one answer that does not come ends nothing"


async def test_a_new_personality_is_offered_its_first_version_and_a_press_asks_for_it(visitor, query, rows):
    shown = tuple(Example(dialogue=(f"How are you, {n}?", "Fine, thank you.")) for n in range(8))
    query(lambda session: change_card(session, read_personality(session, 1), Card(examples=shown), by="test"))
    offer = await visitor.get("/overview/waiting")
    assert "First version: default can learn the 8 examples on its card now." in offer.text
    assert "Make a first version" in offer.text
    assert "Waiting for the trainer" in (await visitor.post("/rounds", from_examples="on")).text
    (round_,) = rows(RoundRow)
    assert (round_.learns_from, round_.status) == (TrainingSource.EXAMPLES, RoundStatus.REQUESTED)
    assert rows(AuditRow)[0].subject == "learn_from: examples"
    assert "First version" not in (await visitor.get("/overview/waiting")).text


async def test_the_one_thing_to_do_next_follows_the_first_choices(visitor, query):
    """Whoever has chosen is led to more choices, to a round, and to its progress; a first version stays on offer."""
    shown = tuple(Example(dialogue=(f"How are you, {n}?", "Fine, thank you.")) for n in range(8))
    query(lambda session: change_card(session, read_personality(session, 1), Card(examples=shown), by="test"))
    query(lambda session: compare(session, *ask_twice(session, None, None), ALICE, Better.FIRST))
    chosen = await visitor.get("/overview/waiting")
    assert "39 more choices make a good first round." in chosen.text
    assert "Make a first version" in chosen.text
    assert "The 8 examples on its card make a first version." in (await visitor.get("/rounds")).text
    query(lambda session: [compare(session, *ask_twice(session, None, None), ALICE, Better.FIRST) for _ in range(39)])
    enough = await visitor.get("/overview/waiting")
    assert "40 choices are enough for a first round." in enough.text
    assert "Make a first version" in enough.text
    await visitor.post("/rounds")
    query(lambda session: claim_round(session, "here"))
    query(lambda session: report_progress(session, 1, PROGRESS))
    running = await visitor.get("/overview/waiting")
    assert "Training a new version. Step 3 of 5: Training the new version · about 2 min left" in running.text
    assert "See how far it is" in running.text


async def test_older_rounds_are_a_page_away(visitor, query):
    for number in range(22):
        query(lambda session: request_round(session, 1, "me"))
        query(lambda session: claim_round(session, "here"))
        query(lambda session, id_=number + 1: finish_round(session, id_, RoundStatus.SKIPPED, reason="too few pairs"))
    newest = await visitor.get("/rounds")
    assert "round 22" in newest.text
    assert "round 2 " not in newest.text
    older = await visitor.get("/rounds?before=3")
    assert "round 2" in older.text
    assert "Older rounds" not in older.text


async def test_a_finished_round_shows_its_losses_and_what_the_gate_said_and_a_failed_one_why(visitor, query):
    checks = [
        {"name": "length", "outcome": "fail", "sentence": "answers are 3 times as long"},
        {"name": "people", "outcome": "not enough evidence", "sentence": "nobody has compared it yet"},
    ]
    metrics = {"loss_curve": [0.7, 0.6, 0.5], "steps": 3}

    def finish(session, status, *more, **gate):
        round_, _ = request_round(session, 1, "me")
        claim_round(session, "here")
        finish_round(session, round_.id, status, *more, **gate)

    query(lambda session: finish(session, RoundStatus.FAILED, "memory ran out"))
    failed = await visitor.get("/rounds")
    assert "The round failed round 1 Memory ran out." in failed.text
    assert "<svg" not in failed.html
    gate = {"verdict": "fail", "checks": checks}
    query(lambda session: finish(session, RoundStatus.REJECTED, "broken", metrics, gate=gate))
    page = await visitor.get("/rounds")
    assert "Round 2: the loss fell. From 0.70 to 0.50 in 3 steps; between 0.50 and 0.70." in page.text
    assert 'points="0.00,0.00 50.00,15.00 100.00,30.00"' in page.html
    assert "Details: 0 of 2 checks passed, 1 failed, 1 open" in page.text
    assert "✗ length : answers are 3 times as long" in page.text


async def test_what_waits_is_listed_with_the_page_where_it_is_decided(visitor, waiting, query, place):
    assert "Nothing waits for a decision." in (await visitor.get("/overview/waiting")).text
    waiting(1.0)

    def work(session):
        request_round(session, 1, "me")
        claim_round(session, "here")
        finish_round(session, 1, RoundStatus.FAILED, "memory ran out")
        reply = add_reply(session, answer="Tea is blue.", guild_id=place.channel.guild.id)
        vote(session, reply, ALICE, Vote.DOWN)
        give_cause(session, reply, ALICE, Cause.WRONG_FACT)
        liked = add_reply(session, answer="a bought joke")
        for number in range(6):
            vote(session, liked, account(days_old=1) + number, Vote.UP)

    query(work)
    await visitor.post("/trust/search")
    page = await visitor.get("/overview/waiting", **{"HX-Request": "true"})
    leads_to = re.findall('(?:href|action)="(.*?)"', page.html)
    assert leads_to == ["/label", "/rounds", "/trust", f"/knowledge?server={place.channel.guild.id}"]
    assert "v1 waits for members' choices" in page.text
    assert "Round 1 of default failed: memory ran out." in page.text
    assert "6 suspicious votes of default are on hold until an admin decides." in page.text
    assert "Members reported wrong facts in 1 answer" in page.text


async def test_reported_facts_lead_to_the_documents_of_their_server_if_i_am_still_in_it(visitor, query, place, env):
    other = env.create_guild("The _Other_ one")

    def work(session):
        for guild_id in (other.id, GONE):
            reply = add_reply(session, answer="Tea is blue.", guild_id=guild_id)
            vote(session, reply, ALICE, Vote.DOWN)
            give_cause(session, reply, ALICE, Cause.WRONG_FACT)

    query(work)
    page = await visitor.get("/overview/waiting", **{"HX-Request": "true"})
    assert "Members reported wrong facts in 1 answer in The _Other_ one: a document would help." in page.text
    assert re.findall('href="(/knowledge.*?)"', page.html) == [f"/knowledge?server={other.id}"]


async def test_what_waits_for_another_personality_leads_to_its_page(visitor, query, add_version):
    add_version(1.0)
    query(lambda session: create_personality(session, "keeper", Card(), by="test"))
    page = await visitor.get("/overview/waiting?personality=keeper")
    assert "v1: ✓ passed the checks. Promote it" in page.text
    assert 'href="/versions"' in page.html


async def test_the_health_of_the_bot_is_told(visitor):
    text = (await visitor.get("/overview/health")).text
    assert "Discord ✓ connected" in text
    assert "Trainer ✗ no sign of life: " in text
    assert "reactune trainer starts one" in text
    assert "GB free" in text
