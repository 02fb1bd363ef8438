"""Answers that a round draws: siblings that no member sees, and that go with the words they answer."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.conversations.replies import digest_prompt, find_reply, latest_in_channel
from storage.database.enums import NOBODY, Basis, Origin, Outcome
from storage.database.tables import ReplyMessageRow, ReplyRow
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import delete_member
from storage.settings.sections import PrivacySettings
from storage.training.feedback import RatedReply, read_answers_to, read_replies, read_texts
from storage.training.samples import AskedPrompt, DrawnSample, count_answers, newest_prompts, record_samples
from storage.training.trainable import TrainingScope
from storage.votes.votes import Vote
from tests.past import add_version
from tests.seeding import ALICE, BASE_REVISION, BOB, CAROL, CHANNEL, OTHER_REVISION, add_reply, render_plainly, vote

PERMITTED = PrivacySettings(discord_training_permission=True)
SAMPLING = {"temperature": 0.7}
SERVED = "<|user|>hello<|bot|>"


def drawn(reply_id: int, text: str = "a sample", *, is_cut: bool = False) -> DrawnSample:
    return DrawnSample(AskedPrompt("as in the reply", digest_prompt(SERVED), reply_id), text, is_cut)


def record(session: Session, *answers: DrawnSample, version_id: int | None = None) -> int:
    rows = {"personality_id": ensure_personality(session), "base_revision": BASE_REVISION, "version_id": version_id}
    return record_samples(session, answers, **rows, sampling=SAMPLING, seed=17)


def newest(session: Session, personality_id: int, limit: int = 9) -> list[AskedPrompt]:
    scope = TrainingScope(personality_id, PrivacySettings(), BASE_REVISION)
    return newest_prompts(session, scope, limit, render=render_plainly)


def samples(session: Session, personality_id: int, privacy: PrivacySettings = PERMITTED) -> list[RatedReply]:
    replies = read_replies(session, TrainingScope(personality_id, privacy, BASE_REVISION), {})
    return [reply for reply in replies if reply.is_sample]


def said(session: Session, personality_id: int, *replies: RatedReply) -> list[str]:
    ids = [reply.id for reply in replies]
    scope = TrainingScope(personality_id, PERMITTED, BASE_REVISION)
    return list(read_texts(session, scope, render=render_plainly, replies=ids).answers.values())


def test_a_sample_is_a_sibling_of_its_reply(session: Session, personality_id: int) -> None:
    reply = add_reply(session, speakers=(ALICE, BOB))
    vote(session, reply, CAROL, Vote.UP)
    version = add_version(session, personality_id=personality_id)
    assert record(session, drawn(reply, "one"), drawn(reply, "two", is_cut=True), version_id=version.id) == 2
    first, second = samples(session, personality_id)
    original = find_reply(session, reply)
    assert (first.prompt, said(session, personality_id, first)) == (digest_prompt(original.prompt), ["one"])
    assert (first.is_cut, second.is_cut) == (False, True)
    row = session.get_one(ReplyRow, first.id)
    assert row.version_id == version.id
    assert (row.origin, row.outcome, row.author_id) == (Origin.SAMPLE, Outcome.COMPLETE, NOBODY)
    assert (row.basis, row.base_revision, row.sampling, row.seed) == (Basis.LOCAL, BASE_REVISION, SAMPLING, 17)
    assert sorted(find_reply(session, first.id).speakers) == [ALICE, BOB]


def test_no_member_sees_a_sample(session: Session, personality_id: int) -> None:
    reply = add_reply(session)
    record(session, drawn(reply))
    carried = session.scalars(select(ReplyMessageRow.reply_id)).all()
    assert carried == [reply]
    assert latest_in_channel(session, CHANNEL).id == reply


def test_samples_of_a_reply_deleted_in_the_meantime_are_dropped(session: Session, personality_id: int) -> None:
    hers, his = add_reply(session, speakers=(ALICE,)), add_reply(session, speakers=(BOB,))
    delete_member(session, ALICE)
    session.expire_all()
    assert record(session, drawn(hers), drawn(his), drawn(10**9)) == 1
    assert session.scalar(select(func.count()).where(ReplyRow.origin == Origin.SAMPLE)) == 1


def test_a_sample_goes_with_the_words_it_answers(session: Session, personality_id: int) -> None:
    reply = add_reply(session, speakers=(ALICE, BOB))
    record(session, drawn(reply), drawn(reply))
    delete_member(session, BOB)
    assert session.query(ReplyRow).count() == 0


def test_a_sample_of_live_chat_needs_the_same_consent(session: Session, personality_id: int) -> None:
    reply = add_reply(session, basis=Basis.LIVE_CHAT, speakers=(ALICE, BOB))
    vote(session, reply, CAROL, Vote.DOWN)
    record(session, drawn(reply))
    give_consent(session, ALICE)
    give_consent(session, BOB)
    session.flush()
    assert len(samples(session, personality_id)) == 1
    assert samples(session, personality_id, PrivacySettings()) == []
    withdraw_consent(session, BOB)
    assert samples(session, personality_id) == []


def test_any_text_that_a_model_generates_is_stored(session: Session, personality_id: int) -> None:
    reply = add_reply(session)
    vote(session, reply, CAROL, Vote.DOWN)
    record(session, drawn(reply, "nul\0 and 😀"), drawn(reply, ""))
    assert said(session, personality_id, *samples(session, personality_id)) == ["nul and 😀"]


def test_answers_to_the_prompt_bank_belong_to_nobody(session: Session, personality_id: int) -> None:
    digest = digest_prompt("<|user|>Tea?<|bot|>")
    asked = AskedPrompt("<|user|>Tea?<|bot|>", digest, messages=({"role": "user", "content": "Tea?"},))
    assert record(session, DrawnSample(asked, "Yes.", is_cut=False), DrawnSample(asked, "", is_cut=False)) == 2
    row = session.scalars(select(ReplyRow).order_by(ReplyRow.id)).first()
    assert (row.basis, row.origin, row.author_id, row.guild_id) == (Basis.PROMPT_BANK, Origin.SAMPLE, NOBODY, None)
    assert (row.prompt, row.messages) == ("<|user|>Tea?<|bot|>", [{"role": "user", "content": "Tea?"}])
    assert count_answers(session, personality_id, BASE_REVISION, None, [digest, "x"]) == {digest: 2}
    assert count_answers(session, personality_id, BASE_REVISION, 7, [digest]) == {}
    answers = read_answers_to(session, TrainingScope(personality_id, PrivacySettings(), BASE_REVISION), [digest])
    assert said(session, personality_id, *answers) == ["Yes."]


def test_the_newest_prompts_with_an_open_basis_are_asked_again(session: Session, personality_id: int) -> None:
    older, newer, again = (add_reply(session, prompt=prompt) for prompt in ("a", "b", "a"))
    add_reply(session, prompt="c", basis=None)
    add_reply(session, prompt="d", basis=Basis.LIVE_CHAT)
    add_reply(session, prompt="e", basis=Basis.PROMPT_BANK)
    found = [(asked.prompt, asked.reply_id) for asked in newest(session, personality_id)]
    assert found == [("a", again), ("b", newer)]
    assert [asked.reply_id for asked in newest(session, personality_id, 1)] == [again]
    assert older < newer


def test_a_members_prompt_comes_with_its_messages_and_names_nobody(session: Session, personality_id: int) -> None:
    add_reply(session, prompt=f"Ask <@{ALICE}>, not me.")
    (asked,) = newest(session, personality_id)
    assert asked.prompt == "Ask @somebody, not me."
    assert asked.messages == ({"role": "user", "content": "Ask @somebody, not me."},)


def test_a_prompt_of_another_base_is_asked_in_the_words_of_this_one(session: Session, personality_id: int) -> None:
    said = [{"role": "user", "content": "Tea?"}]
    old = add_reply(session, prompt="<|user|>Tea?<|bot|>", messages=said, base_revision=OTHER_REVISION)
    (asked,) = newest(session, personality_id)
    assert asked == AskedPrompt("[user] Tea?\n", digest_prompt("[user] Tea?\n"), old, tuple(said))
    where = {"personality_id": personality_id, "base_revision": BASE_REVISION, "version_id": None}
    drawn = [DrawnSample(asked, "Please.", is_cut=False), DrawnSample(asked, "No.", is_cut=False)]
    assert record_samples(session, drawn, **where, sampling=SAMPLING, seed=1) == 2
    assert count_answers(session, personality_id, BASE_REVISION, None, [asked.digest]) == {asked.digest: 2}


def test_the_base_is_asked_again_as_it_answered_members_and_a_version_without_examples(
    session: Session, personality_id: int
) -> None:
    said = [{"role": "user", "content": "Tea?"}]
    shown = [{"role": "user", "content": "Hi", "shown_as": "example of the card"}]
    served = "[user] Hi\n[user] Tea?\n"
    reply = add_reply(session, prompt=served, messages=[*shown, *said])
    (asked,) = newest(session, personality_id)
    as_served = AskedPrompt(served, digest_prompt(served), reply)
    assert asked == AskedPrompt("[user] Tea?\n", digest_prompt("[user] Tea?\n"), reply, tuple(said), as_served)
    assert (asked.to(7), asked.to(None)) == (asked, as_served)
    record(session, DrawnSample(asked.to(7), "Please.", is_cut=False))
    record(session, DrawnSample(asked.to(None), "No.", is_cut=False))
    drawn = session.scalars(select(ReplyRow).where(ReplyRow.origin == Origin.SAMPLE).order_by(ReplyRow.id))
    assert [(row.prompt, row.messages) for row in drawn] == [(asked.prompt, said), (served, [*shown, *said])]
