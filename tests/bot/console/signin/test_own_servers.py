"""An admin who signed in sees and decides what Discord's commands let them see and decide, and nothing of others."""

from __future__ import annotations

import asyncio

import discord
import pytest
from simcord.builders import ChannelHandle
from sqlalchemy import update

from storage.database.enums import AuditOutcome, Basis, Cause, Origin, QuarantineStatus
from storage.database.tables import (
    AuditRow,
    BindingRow,
    CardRevisionRow,
    CorrectionRow,
    DocumentRow,
    MemberRow,
    OwnPromptRow,
    PersonalityRow,
    QuarantineRow,
    ReplyRow,
    RoundRow,
    SittingPairRow,
    VoteCauseRow,
    VoteEventRow,
)
from storage.errors import EncoderError
from storage.memory import add_note
from storage.operations.audit import AuditedAction, record_action
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from storage.privacy.erasure import delete_member
from storage.votes.corrections import give_cause
from storage.votes.quarantines import quarantine_bursts
from storage.votes.votes import Vote
from tests.bot.console.test_label import drawn
from tests.seeding import account, add_reply, add_taste, vote


@pytest.fixture
def load_encoder():
    def load():
        raise EncoderError("no encoder here")

    return load


@pytest.fixture
def hall(hal):
    return hal.guild.create_text_channel("hall")


async def _ask(place, who, channel, question, answer, engine):
    engine.answers = [answer]
    await who.send(channel, f"{place.mention} {question}")


@pytest.fixture
async def own(place, engine, rows):
    """An answer in a channel that grace can see."""
    await _ask(place, place.ada, place.channel, "may I?", "you may", engine)
    return rows(ReplyRow)[0]


@pytest.fixture
async def secrets(place, hal, hall, engine, env, rows, own):
    """Answers in another server, a hidden channel, a thread of it, a private thread, and direct messages."""
    guild = place.channel.guild
    deny, allow = discord.PermissionOverwrite(view_channel=False), discord.PermissionOverwrite(view_channel=True)
    overwrites = {guild.default_role: deny, place.ada: allow, env.bot.user: allow}
    hidden = guild.create_text_channel("quiet", overwrites=overwrites)
    quieter = env.backend.create_thread(hidden.id, "quieter", place.ada.id)
    private = env.backend.create_thread(place.channel.id, "quiet", place.ada.id, type=12)
    env.backend.add_thread_member(private.id, env.bot.user.id)
    await _ask(place, hal, hall, "hush?", "a hidden answer", engine)
    for channel in (hidden, _handle(env, guild, quieter.id), _handle(env, guild, private.id)):
        await _ask(place, place.ada, channel, "hush?", "a hidden answer", engine)
    engine.answers = ["a hidden answer"]
    await place.ada.send_dm("hush?")
    _, *found = rows(ReplyRow)
    assert [row.answer for row in found] == ["a hidden answer"] * 5
    return found


def _handle(env, guild, channel_id):
    return ChannelHandle(env, guild, env.backend.channels[channel_id])


@pytest.mark.threat("T31")
async def test_answers_that_the_admin_cannot_see_in_discord_are_neither_listed_nor_found_nor_opened(
    own, secrets, grace, rows
):
    for path in ("/answers", "/answers?text=hidden", "/answers?kind=all&version=base", "/overview/taste", "/trust"):
        assert "hidden answer" not in (await grace.get(path)).text
    assert "you may" in (await grace.get("/answers")).text
    for one in (f"/answers/{secret.id}" for secret in secrets):
        assert "was deleted, or belongs to" in (await grace.get(one)).text
        for path, fields in (("suggest", {"text": "a better one"}), ("example", {}), ("delete", {})):
            assert "was deleted, or belongs to" in (await grace.post(f"{one}/{path}", **fields)).text
    assert rows(CorrectionRow) == rows(CardRevisionRow) == []
    assert {secret.id for secret in secrets} <= {row.id for row in rows(ReplyRow)}


@pytest.mark.threat("T17")
async def test_gaps_of_channels_that_the_admin_cannot_see_are_neither_shown_nor_counted_nor_settled(
    own, secrets, place, grace, visitor, query, rows
):
    for answer in (own, *secrets):
        query(lambda session, id_=answer.id: _report(session, id_, place.bo.id))
    assert "wrong facts in 1 answer" in (await grace.get("/overview/waiting")).text
    assert "hush?" not in (await grace.get("/knowledge/gaps")).text
    assert "may I?" in (await grace.get("/knowledge/gaps")).text
    for path in ("document", "settle"):
        for secret in secrets:
            refused = await grace.post(f"/knowledge/gaps/{path}", title="Hush", text="Facts.", answers=str(secret.id))
            assert "already settled" in refused.text
    assert "hush?" not in (await place.grace.slash(place.channel, "review")).response.content
    assert [row.settled_by for row in rows(VoteCauseRow)] == [None] * 6
    assert "may I?" in (await visitor.get(f"/knowledge/gaps?server={place.channel.guild.id}")).text


@pytest.mark.threat("T17")
async def test_a_gap_of_an_archived_thread_or_a_deleted_channel_is_the_operators(
    own, place, env, engine, query, rows, grace, visitor
):
    thread = env.backend.create_thread(place.channel.id, "old", place.ada.id)
    await _ask(place, place.ada, _handle(env, place.channel.guild, thread.id), "hush?", "a hidden answer", engine)
    hidden = rows(ReplyRow)[-1].id
    query(lambda session: _report(session, hidden, place.bo.id))
    assert "hush?" in (await grace.get("/knowledge/gaps")).text
    await env.bot.get_channel(thread.id).edit(archived=True)
    await env.settle()
    for channel_id in (thread.id, 12):
        query(lambda s, id_=channel_id: s.execute(update(ReplyRow).where(ReplyRow.id == hidden).values(channel_id=id_)))
        assert "hush?" not in (await grace.get("/knowledge/gaps")).text
        assert "wrong facts" not in (await grace.get("/overview/waiting")).text
        assert "hush?" in (await visitor.get("/knowledge/gaps")).text


async def test_a_message_of_a_private_thread_becomes_no_document(place, env, rows):
    thread = env.backend.create_thread(place.channel.id, "quiet", place.ada.id, type=12)
    for member_id in (env.bot.user.id, place.grace.id):
        env.backend.add_thread_member(thread.id, member_id)
    said = await place.ada.send(_handle(env, place.channel.guild, thread.id), "The pool opens at nine.")
    refused = await place.grace.slash(place.channel, "knowledge add", message=said.jump_url)
    assert "You can't read that channel yourself" in refused.response.content
    assert rows(DocumentRow) == []


def _report(session, reply_id, user_id):
    vote(session, reply_id, user_id, Vote.DOWN)
    give_cause(session, reply_id, user_id, Cause.WRONG_FACT)


async def test_an_open_thread_belongs_to_its_channel_which_is_not_read_once_its_history_is_closed(
    own, place, engine, env, grace, forgetful
):
    thread = env.backend.create_thread(place.channel.id, "open", place.ada.id)
    await _ask(place, place.ada, _handle(env, place.channel.guild, thread.id), "here?", "in the thread", engine)
    seen = (await grace.get("/answers")).text
    assert ("you may" in seen, "in the thread" in seen) == (True, True)
    channel = env.bot.get_channel(place.channel.id)
    await channel.set_permissions(channel.guild.default_role, read_message_history=False)
    await env.settle()
    seen = (await grace.get("/answers")).text
    assert ("you may" in seen, "in the thread" in seen) == (False, False)


@pytest.mark.threat("T32")
async def test_notes_that_a_member_gave_elsewhere_stay_hidden(place, engine, query, rows, grace, visitor):
    query(lambda session: add_note(session, place.ada.id, place.channel.guild.id, "I collect stamps of Peru"))
    await _ask(place, place.ada, place.channel, "what shall I collect?", "hello", engine)
    (reply,) = rows(ReplyRow)
    assert "stamps" in (await visitor.get(f"/answers/{reply.id}")).text
    seen = (await grace.get(f"/answers/{reply.id}")).text
    assert "stamps" not in seen
    assert "hello" in seen


async def test_deleting_an_answer_needs_manage_messages(place, own, grace, env, rows):
    assert "Delete it permanently" not in (await grace.get(f"/answers/{own.id}")).text
    assert "needs Manage Messages" in (await grace.post(f"/answers/{own.id}/delete")).text
    assert len(rows(ReplyRow)) == 1
    (role,) = [one for one in place.channel.guild.roles.values() if one.name == "admins"]
    both = discord.Permissions(manage_guild=True, manage_messages=True)
    env.backend.edit_role(place.channel.guild.id, role.id, {"permissions": both.value})
    await grace.post(f"/answers/{own.id}/delete")
    assert rows(ReplyRow) == []
    assert (rows(AuditRow)[-1].action, rows(AuditRow)[-1].guild_id) == ("console delete answer", place.channel.guild.id)


async def test_personalities_of_other_servers_do_not_exist(place, hal, query, grace, rows):
    query(lambda s: create_personality(s, "owl", Card(description="Hoots"), by="hal", guild_id=hal.guild.id))
    assert "Hoots" not in (await grace.get("/personalities")).text
    for path in (
        "/personalities?personality=owl",
        "/answers?personality=owl",
        "/personalities/card.toml?personality=owl",
    ):
        assert "There is no personality 'owl': choose one of default" in (await grace.get(path)).text
    assert "choose one of default." in (await grace.get("/personalities?personality=cat")).text
    await grace.post("/personalities", name="cat", server=str(hal.guild.id))
    await grace.post("/personalities", name="cat")
    assert [row.name for row in rows(PersonalityRow)] == ["default", "owl"]
    made = await grace.post("/personalities", name="cat", server=str(place.channel.guild.id))
    assert "The card of cat" in made.text
    assert rows(PersonalityRow)[-1].guild_id == place.channel.guild.id


DECISIONS = [
    ("/rounds", {}),
    ("/versions/promote", {"version": "v1", "reason": "nicer", "seen": "2"}),
    ("/versions/rollback", {"reason": "", "seen": "3"}),
    ("/label/prompts", {"text": "What is tea?"}),
    ("/label/prompts/remove", {}),
    ("/trust/search", {}),
    ("/trust/1", {"status": "counted", "votes": "6", "reason": "fine"}),
]


async def _decide_all(grace, personality=""):
    toml = (await grace.get(f"/personalities{personality}")).value_of("before")
    edit = ("/personalities/card", {"toml": 'system_prompt = "Be dry."', "before": toml})
    return [await grace.post(path + personality, **fields) for path, fields in (*DECISIONS, edit)]


@pytest.mark.threat("T33")
async def test_what_other_servers_use_too_is_not_decided_on(hal, grace, release, burst, rows):
    release(1.0)
    for seen in await _decide_all(grace):
        assert "other servers too" in seen.text
    assert rows(RoundRow) == rows(OwnPromptRow) == rows(CardRevisionRow) == []
    assert {row.outcome for row in rows(AuditRow)[1:]} == {AuditOutcome.REFUSED}
    for path, button in (
        ("/versions", "Roll back to"),
        ("/rounds", "Train now"),
        ("/trust", "Look for"),
        ("/personalities", "Save"),
    ):
        assert button not in (await grace.get(path)).text
    assert "Side by side" in (await grace.get("/versions")).text
    assert "Where it comes from" not in (await grace.get("/versions/v1")).text
    await grace.post("/label")
    summary = await grace.post("/label/end")
    assert ("Choose more" in summary.text, "Train now" in summary.text) == (True, False)


async def test_the_only_server_decides_as_in_discord(place, grace, release, burst, rows):
    release(1.0)
    release(2.0)
    for seen in await _decide_all(grace):
        assert "other servers too" not in seen.text
    assert len(rows(RoundRow)) == 1
    assert rows(CardRevisionRow)[0].card["system_prompt"] == "Be dry."
    assert {row.guild_id for row in rows(AuditRow)[1:]} == {place.channel.guild.id}
    assert "Where it comes from" in (await grace.get("/versions/v1")).text


async def test_a_server_decides_about_its_own_personality_only(place, hal, query, grace, rows):
    query(lambda s: create_personality(s, "cat", Card(), by="grace", guild_id=place.channel.guild.id))
    assert (await grace.post("/rounds?personality=cat")).status == 200
    assert len(rows(RoundRow)) == 1


async def test_a_role_that_the_operator_named_decides_about_shared_personalities(hal, place, grace, env, rows):
    assert "other servers too" in (await grace.post("/rounds")).text
    (role,) = [one for one in place.channel.guild.roles.values() if one.name == "admins"]
    settings = env.bot.services.settings
    settings.__dict__["discord"] = settings.discord.model_copy(update={"admin_roles": (role.id,)})
    await grace.post("/rounds")
    assert len(rows(RoundRow)) == 1


@pytest.fixture
def burst(query, place):
    """Let six new accounts like one answer."""

    def add(session):
        reply = add_reply(session, guild_id=place.channel.guild.id, channel_id=place.channel.id, basis=None)
        for number in range(6):
            vote(session, reply, account(days_old=1) + number, Vote.UP)

    query(add)


async def test_bursts_are_decided_on_with_what_is_known_of_voters_here(place, burst, grace, query, rows):
    page = await grace.post("/trust/search")
    assert "6 votes" in page.text
    assert page.html.count('<th scope="row">') == 6
    await grace.post("/trust/1", status="excluded", votes="6", reason="bought")
    assert rows(QuarantineRow)[0].decided_by == f"grace ({place.grace.id})"


@pytest.mark.threat("T33")
async def test_votes_on_a_personality_of_another_server_are_not_decided_on(place, hal, query, env, grace, rows):
    def add(session):
        create_personality(session, "cat", Card(), by="grace", guild_id=place.channel.guild.id)
        owl = create_personality(session, "owl", Card(), by="hal", guild_id=hal.guild.id).id
        reply = add_reply(session, personality_id=owl, guild_id=hal.guild.id)
        for number in range(6):
            vote(session, reply, account(days_old=1) + number, Vote.UP)
        return owl

    quarantine_bursts(env.bot.services.database, query(add), env.bot.services.settings.votes)
    seen = await grace.post("/trust/1?personality=cat", status="counted", votes="6", reason="fine")
    assert "These votes no longer exist" in seen.text
    assert rows(QuarantineRow)[0].status is QuarantineStatus.OPEN


async def test_the_trail_is_that_of_the_server(place, hal, grace, query):
    query(lambda s: record_action(s, AuditedAction("hal (5)", "version train", guild_id=hal.guild.id)))
    query(lambda s: record_action(s, AuditedAction("grace (7)", "arena start", guild_id=place.channel.guild.id)))
    text = (await grace.get("/trust")).text
    assert "arena start" in text
    assert "version train" not in text
    assert "console sign in" not in text, "who signs in is the operator's to know"
    assert "What is stored" not in text
    assert (await grace.get("/trust/stored")).status == 404


class TestTaste:
    @pytest.fixture
    def overrides(self, overrides):
        return overrides | {"REACTUNE_VOTES__MEMBERSHIP_DAYS": "0"}

    async def test_the_taste_shows_answers_of_visible_channels_only(self, place, query, grace):
        query(lambda session: add_taste(session, 40))
        seen = await grace.get("/overview/taste")
        assert "After 40 votes" in seen.text
        assert "<blockquote>" not in seen.html
        here = {"guild_id": place.channel.guild.id, "channel_id": place.channel.id}
        query(lambda session: session.execute(update(ReplyRow).values(here)))
        assert "<blockquote>" in (await grace.get("/overview/taste")).html


async def test_an_admin_labels_as_a_member_of_their_server(place, engine, grace, rows):
    engine.answers = [f"answer number {number} of the bot" for number in range(40)]
    await grace.post("/label")
    await drawn(grace)
    pair = rows(SittingPairRow)[0]
    await grace.change("/label/correct", reply=str(pair.first_id), text="Something of mine.")
    await grace.change(f"/label/pairs/{pair.id}", label="first")
    assert rows(SittingPairRow)[0].label == "first"
    (member,) = [row for row in rows(MemberRow) if row.user_id == place.grace.id]
    assert member.guild_id == place.channel.guild.id, "no membership of the operator's machine, which counts in full"
    (correction,) = rows(CorrectionRow)
    assert (correction.author_id, correction.basis) == (place.grace.id, None)
    assert {row.origin for row in rows(ReplyRow)} <= {Origin.SITTING, Origin.SAMPLE}
    assert {row.basis for row in rows(ReplyRow)} == {Basis.PROMPT_BANK}


@pytest.fixture
async def talk(engine, grace, rows):
    """What the playground answered grace."""
    engine.answers = ["hello there"]
    await grace.post("/playground", question="hi", version="base", answers="1")
    return rows(ReplyRow)[0]


async def test_a_talk_in_the_playground_is_a_members_words_and_votes(talk, place, grace, rows):
    assert (talk.origin, talk.basis, talk.author_id) == (Origin.PLAYGROUND, None, place.grace.id)
    await grace.post("/playground/vote", reply=str(talk.id), emoji="👍", talk=str(talk.id))
    (member,) = [row for row in rows(MemberRow) if row.user_id == place.grace.id]
    assert member.guild_id == place.channel.guild.id


async def test_an_answer_of_the_playground_is_improved_and_deleted_by_whoever_asked(talk, place, grace, rows):
    assert f"/answers/{talk.id}" in (await grace.get(f"/playground?talk={talk.id}")).html
    assert "hello there" in (await grace.get(f"/answers/{talk.id}")).text
    seen = await grace.post(f"/answers/{talk.id}/suggest", text="good day")
    assert "good day" in seen.text
    (correction,) = rows(CorrectionRow)
    assert (correction.author_id, correction.basis) == (place.grace.id, None)
    (member,) = [row for row in rows(MemberRow) if row.user_id == place.grace.id]
    assert member.guild_id == place.channel.guild.id, "no membership of the operator's machine, which counts in full"
    assert "Delete it permanently" in seen.text
    await grace.post(f"/answers/{talk.id}/delete")
    assert rows(ReplyRow) == []


async def test_another_admin_neither_reads_a_talk_nor_learns_of_its_votes(
    talk, place, grace, outside, discord_server, env, rows
):
    (role,) = [one for one in place.channel.guild.roles.values() if one.name == "admins"]
    cleo = place.channel.guild.add_member(env.create_user("cleo"), roles=[role])
    discord_server.servers[cleo.id] = [place.channel.guild.id]
    other = await outside("203.0.113.6")
    await other.sign_in(discord_server, cleo)
    await grace.post("/playground/vote", reply=str(talk.id), emoji="👍", talk=str(talk.id))
    assert len(rows(VoteEventRow)) == 1
    assert "👍" not in (await other.get("/trust")).text
    for path in ("", "/suggest", "/example", "/delete"):
        seen = await (other.post(f"/answers/{talk.id}{path}", text="x") if path else other.get(f"/answers/{talk.id}"))
        assert "was deleted, or belongs to" in seen.text
    assert len(rows(ReplyRow)) == 1


async def test_a_second_browser_of_a_person_does_not_occupy_the_model_twice(
    place, engine, grace, outside, discord_server, env, rows
):
    second = await outside("203.0.113.6")
    await second.sign_in(discord_server, place.grace)
    resume = asyncio.Event()
    engine.interlude = resume.wait
    fields = {"version": "base", "answers": "1"}
    await grace.change("/playground", question="first", **fields)
    await second.change("/playground", question="second", **fields)
    assert [one.cancelled for one in engine.generations] == [True, False]
    resume.set()
    await env.settle()
    assert [row.messages[-1]["content"] for row in rows(ReplyRow)] == ["second"]


async def test_words_that_are_deleted_while_they_are_answered_do_not_come_back(place, engine, grace, query, rows):
    async def delete():
        engine.interlude = None
        query(lambda session: delete_member(session, place.grace.id))

    engine.interlude = delete
    seen = await grace.post("/playground", question="my name is Grace", version="base", answers="1")
    assert "deleted their data" in seen.text
    assert rows(ReplyRow) == []


async def test_a_personality_is_bound_to_channels_that_the_admin_can_see(place, env, grace, rows):
    guild = place.channel.guild
    deny, allow = discord.PermissionOverwrite(view_channel=False), discord.PermissionOverwrite(view_channel=True)
    quiet = guild.create_text_channel("quiet", overwrites={guild.default_role: deny, env.bot.user: allow})
    page = await grace.get("/personalities")
    assert ("#general" in page.text, "#quiet" in page.text) == (True, False)
    fields = {"server": str(guild.id), "strength": "1"}
    assert "can't see this channel" in (await grace.post("/personalities/bind", place=str(quiet.id), **fields)).text
    await grace.post("/personalities/bind", place=str(place.channel.id), **fields)
    assert [row.place_id for row in rows(BindingRow)] == [place.channel.id]
    assert rows(AuditRow)[-1].guild_id == guild.id


class TestTwoServers:
    """Of which grace administers both."""

    @pytest.fixture
    async def answer(self, place, away, hal, hall, grace, engine, rows):
        """An answer in the other server."""
        await _ask(place, hal, hall, "hush?", "a quiet answer", engine)
        return rows(ReplyRow)[-1]

    async def test_what_is_done_stands_in_the_trail_of_its_server(self, away, hall, grace, answer, env, query, rows):
        (admins,) = [role for role in away.roles.values() if role.name == "admins"]
        both = discord.Permissions(manage_guild=True, manage_messages=True)
        env.backend.edit_role(away.id, admins.id, {"permissions": both.value})
        query(lambda s: create_personality(s, "cat", Card(), by="test"))
        where = {"server": str(away.id), "place": str(hall.id), "strength": "1"}
        await grace.post("/personalities/bind?personality=cat", **where)
        await grace.post("/personalities/unbind?personality=cat", scope="channel", place=str(hall.id))
        await grace.post(f"/answers/{answer.id}/suggest", text="a better answer")
        await grace.post(f"/answers/{answer.id}/delete")
        await grace.post("/personalities?personality=cat", name="dog", server=str(away.id))
        await grace.upload(
            "/personalities/import?personality=cat", ("fox.toml", b'system_prompt = "Be sly."'), server=str(away.id)
        )
        trail = [row for row in rows(AuditRow) if row.action != "console sign in"]
        assert [row.action for row in trail] == [
            f"console {what}"
            for what in ("bind", "unbind", "suggest", "delete answer", "create personality", "import card")
        ]
        assert {row.guild_id for row in trail} == {away.id}
        assert [row.personality_id for row in trail[-2:]] == [None, None]

    async def test_a_personality_can_belong_to_each_whichever_the_page_is_about(self, place, away, grace, query):
        own = place.channel.guild
        query(lambda s: create_personality(s, "cat", Card(), by="test", guild_id=own.id))
        page = await grace.get("/personalities?personality=cat")
        assert page.html.count(f'<option value="{own.id}">') == page.html.count(f'<option value="{away.id}">') == 2


async def test_what_waits_is_what_the_admin_may_decide(hal, grace, visitor, env, burst):
    assert quarantine_bursts(env.bot.services.database, 1, env.bot.services.settings.votes)
    assert "Decide on them" not in (await grace.get("/overview/waiting")).text
    assert "Decide on them" in (await visitor.get("/overview/waiting")).text
