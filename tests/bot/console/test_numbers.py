"""One database, asked on every surface: the same thing has the same number and the same words."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from bot.localization.sentences import day as day_of
from storage.database.enums import Cause, Label, Origin, PairChoice
from storage.database.tables import SittingPairRow
from storage.releases.promotion import promote
from storage.releases.versions import version_named
from storage.sittings.sittings import begin_sitting, label_pair
from storage.votes.corrections import give_cause
from storage.votes.votes import Vote
from tests.bot.panels import post_report, said
from tests.past import quarantine
from tests.reactune.conftest import run_command
from tests.seeding import BOB, CAROL, add_correction, add_reply, add_taste, choose, vote

__all__ = ["run_command"]

COUNTED = "40 votes, 5 choices, and 1 suggested or replaced answer by 7 members"
LEFT_OUT = "Of 42 votes given, 1 is not shown here: 1 on hold or left out."
SUSPECT = 555


@pytest.fixture
def said_much(waiting, query):
    """Forty votes that count, one on hold, one about a fact, four choices between v1 and the base, one press of
    "Both bad", a suggestion."""
    v1 = waiting(1.0)

    def write(session):
        add_taste(session, 40)
        held, wrong, improved = (add_reply(session, prompt=f"question {i}") for i in range(3))
        vote(session, held, SUSPECT, Vote.UP)
        quarantine(session, 0, [(held, SUSPECT)])
        vote(session, wrong, BOB, Vote.DOWN)
        give_cause(session, wrong, BOB, Cause.WRONG_FACT)
        add_correction(session, improved, "a better answer", author_id=CAROL)
        choose(session, v1, None, wins=3, losses=1)
        sitting, both = begin_sitting(session, 1, BOB), [add_reply(session, origin=Origin.SITTING) for _ in range(2)]
        pair = SittingPairRow(
            sitting_id=sitting.id, prompt="tea?", first_id=both[0], second_id=both[1], chosen_by=PairChoice.CHANCE
        )
        session.add(pair)
        session.flush()
        label_pair(session, sitting, pair.id, Label.BOTH_BAD, None)

    query(write)


@pytest.fixture
def command_line(settings, tmp_path, run_command):
    """Run `reactune … --json` in this process and return what it prints."""

    def run(*words: str) -> dict[str, object]:
        where = {"REACTUNE_DATA__DIRECTORY": str(settings.data.directory)}
        return json.loads(run_command(tmp_path, *words, "--json", **where)[1])

    return run


async def on_discord(place, command: str, **options: str) -> str:
    shown = (await place.grace.slash(place.channel, command, **options)).response
    return said(shown) or shown.content


async def test_what_counts_has_one_number_everywhere(place, visitor, said_much, command_line):
    status, taste = await on_discord(place, "version status"), await on_discord(place, "taste")
    not_counted = "Of 42 votes given, 2 do not count: 1 on hold or left out, 1 about a wrong fact."
    assert f"**Votes:** {COUNTED}. {not_counted}" in status
    assert taste.startswith(f"After {COUNTED}, ")

    assert f"Votes: {COUNTED}. {not_counted}" in (await visitor.get("/overview/status")).text
    assert f"After {COUNTED}, " in (await visitor.get("/overview/taste")).text

    found = command_line("taste")
    assert [found[name] for name in ("votes", "choices", "others", "members")] == [40, 5, 1, 7]
    assert found["finding"].startswith(f"After {COUNTED}, ")


async def test_since_when_a_version_answers_is_one_moment(place, visitor, said_much, query, command_line):
    assert "It has answered since" not in await on_discord(place, "version status")
    query(
        lambda s: promote(
            s, 1, version_named(s, 1, "v1"), expected_generation=0, by="grace", override=True, reason="now"
        )
    )
    since = datetime.fromisoformat(command_line("model", "list")["since"])
    assert f"It has answered since {day_of(since)}." in await on_discord(place, "version status")
    assert f"It has answered since {day_of(since)}." in (await visitor.get("/overview/status")).text
    assert f"v1 answers now since {since:%-d %b %Y, %H:%M} UTC" in (await visitor.get("/")).text


async def test_votes_on_versions_add_up_to_those_given(place, visitor, said_much, command_line):
    assert (await on_discord(place, "version show")).endswith(LEFT_OUT)
    assert LEFT_OUT in (await visitor.get("/versions/list")).text
    assert said(await post_report(place)).endswith(LEFT_OUT)

    listed = command_line("model", "list")
    on_versions = [listed["base_votes"], *(version["votes"] for version in listed["versions"])]
    shown = sum(votes["up"] + votes["down"] for votes in on_versions)
    assert (listed["votes_given"], shown, listed["votes_left_out"]) == (42, 41, {"on hold": 1})
    assert command_line("model", "show", "v1")["votes"] == listed["versions"][0]["votes"]

    report = command_line("model", "report", "report.png")
    by_version = [approval["votes"] for approval in report["approvals"]]
    by_day = [day["votes"] for day in report["days"]]
    assert by_version == on_versions
    assert sum(votes["up"] + votes["down"] for votes in by_day) == shown
    assert (report["votes_given"], report["votes_left_out"]) == (42, {"on hold": 1})


async def test_a_comparison_has_one_score_everywhere(place, visitor, said_much, command_line):
    score = "v1 leads 3 to 1"
    for command, options in (("version status", {}), ("version show", {}), ("version show", {"version": "v1"})):
        assert score in await on_discord(place, command, **options)
    for path in ("/overview/status", "/overview/waiting", "/versions", "/versions/list", "/versions/v1"):
        assert path == "/versions/list" or score in (await visitor.get(path)).text
    comparison = command_line("model", "list")["comparison"]
    assert (comparison["wins"], comparison["losses"], comparison["people"]) == (3, 1, 4)
