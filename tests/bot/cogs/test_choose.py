"""`/choose`: ten private pairs in one message, which count as choices do."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from bot.cogs.choose import OPTED_OUT, STILL_DRAWING
from bot.engine import GenerationFailed
from bot.sittings.drawer import AHEAD
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Basis, GateVerdict, Label, Origin, PairChoice
from storage.database.tables import (
    ComparisonRow,
    MemberRow,
    OwnPromptRow,
    ReplyRow,
    SittingPairRow,
    SittingRow,
    VersionRow,
)
from storage.personalities.cards import Card
from storage.personalities.personalities import change_card, create_personality, read_personality
from storage.privacy.consent import withdraw_consent
from storage.privacy.erasure import delete_member
from storage.privacy.member_data import export_member
from storage.releases.contests import LeftOut, read_contest
from storage.releases.pair_share import FIRST_CHOICES, first_choices_left
from storage.releases.versions import starting_point
from storage.settings.sections import Settings, VoteSettings
from storage.taste.opinions import read_taste_opinions
from tests.bot.panels import said

SPARES = 2 * AHEAD
HANG_S = 60.0
LABELS = {
    "Left": Label.FIRST,
    "Right": Label.SECOND,
    "Both good": Label.BOTH_GOOD,
    "Both bad": Label.BOTH_BAD,
}


@pytest.fixture
def fixed_basis():
    return None


@pytest.fixture(autouse=True)
def few_spares(monkeypatch):
    """Draw few, because each takes four answers; but more than the first person may take while they are drawn."""
    monkeypatch.setattr("bot.sittings.drawer.SPARES", SPARES)


@pytest.fixture(autouse=True)
def prompts(query):
    """Thirty prompts of the operator, which come before those of the bank."""

    def add(session):
        session.add_all(
            OwnPromptRow(personality_id=1, text=f"What about {number}?", digest=str(number), added_by="grace")
            for number in range(30)
        )

    query(add)


async def choose(place, who=None, **options):
    return (await (who or place.ada).slash(place.channel, "choose", **options)).response


async def press(who, message, label):
    return (await who.click(message, label=label)).response or message


async def drawn(rows, waiting: int = SPARES) -> None:
    """Wait until the pairs for whoever comes next are there."""

    def are_there() -> bool:
        spares = [row.id for row in rows(SittingRow) if row.user_id == NOBODY]
        return sum(row.sitting_id in spares for row in rows(SittingPairRow)) >= waiting

    async with asyncio.timeout(HANG_S):
        while not are_there():  # noqa: ASYNC110  (a row has no event)
            await asyncio.sleep(0.01)


def of(rows, who) -> list[SittingPairRow]:
    sittings = [row.id for row in rows(SittingRow) if row.user_id == who.id]
    return [row for row in rows(SittingPairRow) if row.sitting_id in sittings]


async def test_a_press_is_a_choice_and_the_next_pair_comes_in_the_same_message(place, rows, query):
    shown = await choose(place)
    assert shown.flags.ephemeral
    assert said(shown).startswith("**Which answer is better?**\n-# 1 of 10\n"), "Discord adds that only she sees it"
    assert "### Left\nanswer" in said(shown)
    assert "### Right\nanswer" in said(shown)
    for number, label in enumerate(LABELS, start=2):
        before = said(shown)
        shown = await press(place.ada, shown, label)
        assert f"{number} of 10" in said(shown)
        assert said(shown) != before
    pairs = of(rows, place.ada)[: len(LABELS)]
    left, right, good, bad = pairs
    assert [pair.label for pair in pairs] == list(LABELS.values())
    assert [row.better_id for row in rows(ComparisonRow)] == [left.first_id, right.second_id, None, None]
    assert {(row.user_id, row.by_admin) for row in rows(ComparisonRow)} == {(place.ada.id, False)}
    compared = {answer_id for pair in pairs for answer_id in (pair.first_id, pair.second_id)}
    answers = [row for row in rows(ReplyRow) if row.id in compared]
    assert {(row.basis, row.origin, row.author_id) for row in answers} == {(Basis.PROMPT_BANK, Origin.SITTING, NOBODY)}
    assert [row.user_id for row in rows(MemberRow)] == [place.ada.id], "since when she is here weighs her choice"
    taste = query(lambda session: read_taste_opinions(session, 1, Settings()))
    assert len(taste.choices) == len(LABELS)
    liked = {good.first_id: True, good.second_id: True, bad.first_id: False, bad.second_id: False}
    assert {opinion.reply_id: opinion.liked for opinion in taste.opinions} == liked


async def test_after_ten_pairs_it_says_what_was_learned_and_offers_ten_more(place, rows):
    shown = await choose(place)
    for number in range(1, 11):
        assert f"{number} of 10" in said(shown)
        assert "members like" not in said(shown)
        shown = await press(place.ada, shown, "Left")
    assert said(shown).startswith("Ten choices: thank you!\nAfter 10 choices")
    prompts = [row.prompt for row in of(rows, place.ada)]
    assert len(prompts) == len(set(prompts))
    more = await press(place.ada, shown, "Ten more")
    assert "1 of 10" in said(more)
    assert len(rows(SittingRow)) == 2, "the person's, and nobody's"


async def test_after_ten_pairs_an_admin_reads_what_is_left_as_in_the_status(place):
    for who, is_told in ((place.grace, True), (place.ada, False)):
        shown = await choose(place, who)
        for _ in range(10):
            shown = await press(who, shown, "Left")
        status = said((await place.grace.slash(place.channel, "version status")).response)
        left = status.splitlines()[0]
        assert left.endswith("a good first round: `/choose` shows ten comparisons.")
        assert (left in said(shown)) is is_told


async def test_an_admins_choices_are_marked_and_shown_as_theirs(place, rows, waiting):
    waiting(1.0)
    shown = await choose(place, place.grace)
    await press(place.grace, shown, "Left")
    await press(place.ada, await choose(place), "Right")
    assert [row.by_admin for row in rows(ComparisonRow)] == [True, False]
    status = said((await place.grace.slash(place.channel, "version status")).response)
    first_line = status.splitlines()[0]
    assert "choices" in first_line
    assert "only `/choose` will decide" in first_line, "two votes and choices a week are few"
    assert "v1 against base: you " in status
    assert ", members " in status


async def test_while_a_version_waits_it_is_compared_blind_with_what_answers_now(place, rows, query, waiting):
    version = waiting(1.0)
    shown = await choose(place)
    for _ in range(3):
        assert version.name not in said(shown)
        assert "base" not in said(shown)
        shown = await press(place.ada, shown, "Left")
    pairs = of(rows, place.ada)[:3]
    versions = {row.id: row.version_id for row in rows(ReplyRow)}
    assert {pair.chosen_by for pair in pairs} == {PairChoice.RIVALS}
    assert all({versions[pair.first_id], versions[pair.second_id]} == {None, version.id} for pair in pairs)
    contest = query(lambda session: read_contest(session, 1, VoteSettings()))
    assert contest.members.wins + contest.members.losses == 3


async def test_with_a_starter_in_use_choices_go_on_as_before_the_first_round(place, rows, query, release):
    starter = release(1.0)
    shown = await choose(place)
    assert {row.version_id for row in rows(ReplyRow)} == {starter.id}
    await press(place.ada, shown, "Left")
    (choice,) = rows(ComparisonRow)
    assert choice.user_id == place.ada.id
    taste = query(lambda session: read_taste_opinions(session, 1, Settings()))
    assert len(taste.choices) == 1
    assert query(lambda session: starting_point(session, 1).starter) == starter
    assert query(lambda session: first_choices_left(session, 1)) == FIRST_CHOICES - 1


async def test_pairs_from_before_a_version_waits_are_not_asked_any_more(place, rows, waiting):
    await choose(place)
    await drawn(rows)
    waiting(1.0)
    shown = await choose(place, place.bo)
    await press(place.bo, shown, "Left")
    assert of(rows, place.bo)[0].chosen_by is PairChoice.RIVALS


async def test_the_pair_of_a_version_that_is_gone_is_replaced(place, rows, query, waiting):
    waiting(1.0)
    await choose(place)
    await drawn(rows)
    query(lambda session: session.execute(update(VersionRow).values(verdict=GateVerdict.FAIL)))
    await press(place.bo, await choose(place, place.bo), "Left")
    assert of(rows, place.bo)[0].chosen_by is not PairChoice.RIVALS


async def test_nobody_waits_for_pairs_that_were_drawn_ahead(place, rows, engine):
    await choose(place)
    await drawn(rows)
    assert len(of(rows, place.ada)) == AHEAD
    engine.full = True
    assert "1 of 10" in said(await choose(place, place.bo)), "the engine is not asked"


async def test_two_people_get_two_pairs_and_nobody_gets_a_prompt_twice(place, rows):
    await choose(place)
    await drawn(rows)
    for who in (place.bo, place.grace):
        assert "1 of 10" in said(await choose(place, who))
    for who in (place.ada, place.bo, place.grace):
        theirs = [row.prompt for row in of(rows, who)]
        assert len(theirs) == len(set(theirs)) >= 1
    firsts = [of(rows, who)[0].id for who in (place.bo, place.grace)]
    assert firsts[0] != firsts[1]


async def test_a_broken_or_busy_engine_is_said_and_the_button_tries_again(place, engine):
    engine.failure = GenerationFailed("out of memory")
    shown = await choose(place)
    assert "The model failed: the operator finds the reason in the log." in said(shown)
    engine.failure, engine.full = None, True
    shown = await press(place.ada, shown, "Try again")
    assert "busy" in said(shown)
    engine.full = False
    assert "1 of 10" in said(await press(place.ada, shown, "Try again"))


async def test_who_is_faster_than_the_engine_reads_so_and_the_pair_follows_by_itself(place, env, monkeypatch):
    with monkeypatch.context() as hurried:
        hurried.setattr("bot.cogs.choose.WAIT_S", 0.0)
        shown = await choose(place)
    assert said(shown) == STILL_DRAWING
    await env.advance_time(5)
    assert "1 of 10" in said(shown)


async def test_nobody_waits_for_one_personality_because_pairs_of_another_are_being_drawn(
    place, query, engine, env, monkeypatch
):
    card, render, go_on = Card(system_prompt="You are an owl."), engine.render, asyncio.Event()
    query(lambda session: create_personality(session, "owl", card, by="grace", guild_id=place.channel.guild.id))

    async def render_the_owl_first(messages):
        if messages[0]["content"] != card.system_prompt:
            await env.external_wait(go_on.wait(), reason="the model is slow")
        return await render(messages)

    engine.render = render_the_owl_first
    with monkeypatch.context() as hurried:
        hurried.setattr("bot.cogs.choose.WAIT_S", 0.0)
        assert said(await choose(place)) == STILL_DRAWING
    assert "1 of 10" in said(await choose(place, personality="owl"))
    go_on.set()


async def test_without_a_free_prompt_it_says_who_can_add_more(place, env, tmp_path, query):
    bank = tmp_path / "prompts.txt"
    bank.write_text("Tea?\n")
    query(lambda session: session.query(OwnPromptRow).delete())
    env.change_section("arena", prompts=bank)
    shown = await choose(place)
    assert "Tea?" in said(shown)
    shown = await press(place.ada, shown, "Left")
    assert said(shown).startswith("You have compared answers to every prompt that there is.")


async def test_a_pair_that_stands_in_two_messages_counts_once(place, rows):
    one, other = await choose(place), await choose(place)
    assert said(one) == said(other)
    await press(place.ada, one, "Left")
    after = await press(place.ada, other, "Right")
    assert "1 of 10" in said(after), "the next pair, and nothing was added"
    assert [row.label for row in of(rows, place.ada) if row.label] == [Label.FIRST]
    assert len(rows(ComparisonRow)) == 1


async def test_buttons_work_after_a_restart(place, rows, env, new_bot):
    shown = await choose(place)
    await env.restart_bot(new_bot())
    after = await press(place.ada, shown, "Right")
    assert "2 of 10" in said(after)
    assert of(rows, place.ada)[0].label is Label.SECOND


async def test_after_a_restart_pairs_of_another_card_are_drawn_anew_before_anybody_asks(
    place, rows, query, env, new_bot
):
    await choose(place)
    await drawn(rows)
    outdated = {row.first_id for row in rows(SittingPairRow)}
    query(lambda session: change_card(session, read_personality(session, 1), Card(system_prompt="Owl."), by="grace"))
    await env.restart_bot(new_bot())

    async with asyncio.timeout(HANG_S):
        while len({row.first_id for row in rows(SittingPairRow)} - outdated) < SPARES:  # noqa: ASYNC110  (a row has no event)
            await asyncio.sleep(0.01)


async def test_who_opted_out_is_told_that_it_would_not_count(place, rows, query):
    query(lambda session: withdraw_consent(session, place.ada.id))
    assert "There is no personality 'owl'" in (await choose(place, personality="owl")).content
    result = await place.ada.slash(place.channel, "choose")
    assert OPTED_OUT in [message.content for message in (result.response, *result.followups) if message]
    assert rows(SittingRow) == []


async def test_what_somebody_chose_is_exported_and_deleted_with_them(place, rows, query):
    shown = await press(place.ada, await choose(place), "Left")
    pair = of(rows, place.ada)[0]
    told = str(query(lambda session: export_member(session, place.ada.id)))
    assert pair.prompt in told
    query(lambda session: delete_member(session, place.ada.id))
    clicked = await place.ada.click(shown, label="Left")
    assert "That pair is gone." in clicked.followups[-1].content
    assert rows(ComparisonRow) == []
    assert {row.user_id for row in rows(SittingRow)} == {NOBODY}
    assert "1 of 10" in said(await choose(place, place.bo))


async def test_after_the_card_was_edited_pairs_are_of_the_new_one(place, rows, query):
    shown = await choose(place)
    await drawn(rows)

    def edit(session):
        personality = read_personality(session, 1)
        change_card(session, personality, Card(system_prompt="You keep a lighthouse."), by="grace")

    query(edit)
    for who, seen in ((place.ada, await press(place.ada, shown, "Left")), (place.bo, await choose(place, place.bo))):
        assert "answer" in said(seen)
        pair = next(row for row in of(rows, who) if row.label is None)
        prompts = [row.messages[0]["content"] for row in rows(ReplyRow) if row.id in (pair.first_id, pair.second_id)]
        assert prompts == ["You keep a lighthouse."] * 2
    assert len(rows(ComparisonRow)) == 1, "what was chosen before counts"


async def test_a_version_that_is_deleted_while_its_pair_is_shown_ends_the_comparison(place, rows, query, waiting):
    version = waiting(1.0)
    shown = await choose(place)
    query(lambda session: session.execute(update(VersionRow).values(withdrawn_at=utc_now())))
    after = await press(place.ada, shown, "Left")
    assert "2 of 10" in said(after)
    asked = next(pair for pair in of(rows, place.ada) if pair.label is None)
    versions = {row.id: row.version_id for row in rows(ReplyRow)}
    assert version.id not in (versions[asked.first_id], versions[asked.second_id])
    assert len(query(lambda session: read_taste_opinions(session, 1, Settings())).choices) == 1


@pytest.mark.threat("T49")
async def test_ten_accounts_of_one_evening_change_nothing(place, rows, env, query, waiting):
    waiting(1.0)
    for number in range(10):
        newcomer = env.guild.add_member(env.create_user(f"new{number}"))
        env.backend.guilds[env.guild.id].members[newcomer.id].joined_at = utc_now().isoformat()
        assert "2 of 10" in said(await press(newcomer, await choose(place, newcomer), "Left"))
    assert len(rows(ComparisonRow)) == 10
    assert query(lambda session: read_taste_opinions(session, 1, Settings())).choices == ()
    contest = query(lambda session: read_contest(session, 1, VoteSettings()))
    assert (contest.members.bets, contest.members.left_out) == ((), {LeftOut.NEW: 10})
    status = said((await place.grace.slash(place.channel, "version status")).response)
    assert "0 of 10 choices count, the others not: 10 by new accounts or members." in status


async def test_a_choice_stands_if_discord_no_longer_lets_the_private_message_change(place, rows, env, caplog):
    """After 15 minutes, or where the machine slept: a press on what is still there goes on."""
    shown = await choose(place)
    first = said(shown)
    env.inject_error("PATCH", "/webhooks/*/*/messages/@original", status=401, code=50027, times=1)
    await place.ada.click(shown, label="Right")
    assert of(rows, place.ada)[0].label is Label.SECOND
    assert [record for record in caplog.records if record.exc_info] == []
    after = await press(place.ada, shown, "Right")
    assert said(after) != first
    assert [row.label for row in of(rows, place.ada) if row.label] == [Label.SECOND]


async def test_a_choice_waits_until_the_database_takes_it(place, rows, lock_database):
    shown = await choose(place)
    await drawn(rows)
    lock_database()
    assert "2 of 10" in said(await press(place.ada, shown, "Left"))
    assert of(rows, place.ada)[0].label is Label.FIRST


async def test_direct_messages_know_the_operators_personalities_alone(place, env, query):
    elsewhere = env.create_guild("Elsewhere").id
    query(lambda session: create_personality(session, "keeper", Card(), by="test"))
    query(lambda session: create_personality(session, "secret", Card(), by="test", guild_id=elsewhere))
    refused = (await place.ada.user.slash("choose", personality="secret")).response
    assert refused.content == "There is no personality 'secret': choose one of default, keeper."
    assert "1 of 10" in said((await place.ada.user.slash("choose", personality="keeper")).response)


async def test_it_speaks_german(place, env):
    env.locales[place.ada.id] = "de"
    shown = await choose(place)
    assert "Welche Antwort ist besser?" in said(shown)
    after = await press(place.ada, shown, "Beide gut")
    assert "-# 2 von 10\n" in said(after)
