"""The demo's guide: one line says what to try next, until a version is promoted or somebody closes it."""

from __future__ import annotations

import re
from html import unescape

from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import GateVerdict, Label, PairChoice, RoundStatus
from storage.database.tables import RoundRow, SittingPairRow
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase
from storage.releases.promotion import promote
from storage.releases.versions import move_alias, read_alias
from storage.sittings.sittings import begin_sitting
from storage.training.rounds import request_round
from storage.votes.comparisons import Better, compare
from tests.bot.console.conftest import Seen
from tests.seeding import BOB, ask_twice


def guide(seen: Seen) -> str:
    """Return the words of the guide's line; "" if there is none."""
    found = re.search(r'<form class="guide".*?</form>', seen.html, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).split()) if found else ""


def compare_pairs(session: Session, number: int, version=None) -> None:
    """Let Bob choose the first answer of that many pairs, with the version's against the base's if there is one."""
    sitting = begin_sitting(session, 1, BOB)
    for _ in range(number):
        first, second = ask_twice(session, version, None)
        row = SittingPairRow(
            sitting_id=sitting.id,
            prompt="hello",
            first_id=first,
            second_id=second,
            chosen_by=PairChoice.CHANCE,
            label=Label.FIRST,
            labelled_at=utc_now(),
        )
        session.add(row)


async def test_the_guide_leads_from_the_first_message_to_the_first_promotion(channel, world, query, waiting):
    assert guide(await channel.look("ada")).startswith("1 of 8 Write something to the bot")
    seen = await channel.say("ada", "Hello")
    assert guide(seen).startswith("2 of 8 Press 👍 or 👎")
    seen = await channel.act("ada", world.lounge.last_message.id, react="👍")
    assert "0 of 10 done. /choose" in guide(seen)

    query(lambda session: compare_pairs(session, 9))
    assert "9 of 10 done" in guide(await channel.look("bo"))
    query(lambda session: compare_pairs(session, 1))
    assert guide(await channel.look("ada")).startswith(
        "4 of 8 The bot now begins several answers and finishes the one that suits your choices."
    )
    overview = await channel.browser.get("/channel/ada/lounge/learned")
    assert overview.path == "/"
    assert "What it has learned" in overview.html

    assert "Forty choices make a better version than ten. Train as grace /choose" in guide(await channel.look("ada"))
    query(lambda session: [compare(session, *ask_twice(session, None, None), BOB, Better.FIRST) for _ in range(40)])
    assert guide(await channel.look("ada")).endswith("it takes some minutes. Train as grace ✕")
    form = await channel.look("grace", query="?command=version+train")
    assert "learn_from" in form.html
    round_id = query(lambda session: request_round(session, 1, "grace")[0].id)
    assert "A new version is being trained" in guide(await channel.look("ada"))
    query(lambda session: setattr(session.get(RoundRow, round_id), "status", RoundStatus.SKIPPED))
    assert "No new version was made" in guide(await channel.look("ada"))

    version = waiting(0.5)
    assert guide(await channel.look("ada")).startswith("6 of 8 v1 is made. Is it better?")
    query(lambda session: compare_pairs(session, 10, version))
    assert guide(await channel.look("ada")).startswith("7 of 8 You have compared v1 with today's answers.")
    assert "reason" in (await channel.look("grace", query="?command=version+promote")).html
    query(
        lambda session: promote(
            session,
            1,
            version,
            expected_generation=read_alias(session, 1).generation,
            by="grace",
            override=True,
            reason="I like it",
        )
    )
    seen = await channel.look("ada")
    assert guide(seen).startswith("8 of 8 v1 answers now.")
    assert guide(seen).endswith("Roll back as grace ✕")
    form = await channel.look("grace", query="?command=version+rollback")
    assert "Go back to the version that answered before." in form.text


async def test_the_guide_knows_a_version_that_is_ready_and_one_that_was_taken_back(channel, query, add_version):
    query(lambda session: compare_pairs(session, 10))
    version = add_version(0.5)
    seen = await channel.look("ada")
    assert guide(seen).startswith("7 of 8 You have compared v1")
    assert "field.override" not in seen.html
    query(lambda session: promote(session, 1, version, expected_generation=0, by="grace", reason=""))
    assert guide(await channel.look("ada")).startswith("8 of 8 v1 answers now.")
    query(lambda session: move_alias(session, 1, read_alias(session, 1), None, by="grace", reason=""))
    assert guide(await channel.look("ada")).startswith("8 of 8 The base answers again.")


async def test_after_a_version_that_failed_the_guide_leads_back_to_training(channel, query, add_version):
    query(lambda session: compare_pairs(session, 10))
    query(finish_one_round)
    add_version(0.5, GateVerdict.FAIL)
    await channel.browser.get("/channel/ada/lounge/learned")
    shown = guide(await channel.look("ada"))
    assert "No new version was made" in shown
    assert shown.endswith("Train as grace /choose ✕")


async def test_the_guide_knows_a_version_that_still_waits_while_a_newer_one_failed(
    channel, query, waiting, add_version
):
    query(lambda session: compare_pairs(session, 10))
    waiting(0.5)
    add_version(0.5, GateVerdict.FAIL)
    assert guide(await channel.look("ada")).startswith("6 of 8 v1 is made.")


async def test_with_another_base_the_guide_begins_again(channel, query, add_version):
    query(lambda session: compare_pairs(session, 10))
    query(finish_one_round)
    version = add_version(0.5)
    query(lambda session: promote(session, 1, version, expected_generation=0, by="grace", reason=""))
    other = ConfiguredBase(setting="another", name="another", revision="0" * 16)
    query(lambda session: begin_base(session, other, by="grace"))
    await channel.browser.get("/channel/ada/lounge/learned")
    assert "Let it learn this for good." in guide(await channel.look("ada"))


def finish_one_round(session: Session) -> None:
    round_, _ = request_round(session, 1, "grace")
    session.get_one(RoundRow, round_.id).status = RoundStatus.PUBLISHED


async def test_a_closed_guide_stays_closed_and_never_stood_elsewhere(channel):
    assert guide(await channel.look("ada", "pirates")) == ""
    closed = await channel.browser.post("/channel/ada/lounge/guide")
    assert closed.path == "/channel/ada/lounge"
    assert guide(closed) == ""
    assert guide(await channel.look("bo")) == ""
