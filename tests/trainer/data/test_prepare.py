"""From the database to a manifest: samples, stored rows, and data that changes during a round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from bot.demo.community import read_community_answers
from storage.conversations.example_turns import ShownAs, order_in, turns_of
from storage.conversations.prompt_bank import read_bank
from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.database.enums import (
    NOBODY,
    ArenaStatus,
    Basis,
    GateVerdict,
    Origin,
    PairSource,
    QuarantineStatus,
    RoundStatus,
    Split,
)
from storage.database.tables import ReplyMeasuresRow, ReplyRow, VersionRow
from storage.errors import RoundConflict
from storage.insights.taste_report import read_answering_now
from storage.members import DIRECT
from storage.models.base_model import BaseModel
from storage.models.chat_format import load_chat_format
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, ensure_personality, read_personality
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import delete_member
from storage.releases.promotion import promote
from storage.releases.versions import NewVersion, Version, find_version, register
from storage.settings.sections import DatabaseSettings, Settings
from storage.sittings.prompts import add_prompts
from storage.taste.examples import Examples
from storage.taste.learning import learn_taste
from storage.taste.orders import FEWEST_PROMPTS, TRIED_ANSWERS, orders_to_try
from storage.training.rounds import (
    Round,
    digest_manifest,
    finish_round,
    latest_round,
)
from storage.training.samples import LocalPair, add_local_pair
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import withdraw
from storage.votes.decisions import decide_quarantine, open_quarantines
from storage.votes.quarantines import new_bursts, quarantine_votes
from storage.votes.votes import Vote
from tests.past import add_arena, add_round, add_version
from tests.seeding import (
    ALICE,
    BOB,
    CAROL,
    account,
    add_correction,
    add_reply,
    add_siblings,
    ask_twice,
    pseudonyms_of,
    read_manifest,
    read_voters,
    tiny_settings,
    vote,
)
from tests.trainer.contexts import begin_round, context_of, serving_of
from trainer.base import RoundBase, ShownExamples
from trainer.data import drawing
from trainer.data.dataset import Skip
from trainer.data.drawing import bank_texts, prompts_to_rank
from trainer.data.plan import TrainingPlan
from trainer.data.prepare import prepare_votes
from trainer.progress import Phase, RoundProgress

NICE = "Yes, of course. Try the soup, it is warm and good."
RUDE = "No"
KEEPER = Card(examples=(Example(dialogue=("How is the light?", "Flat. For now.")),))
Prepare = Callable[..., "TrainingPlan | Skip"]


@pytest.fixture
def ranking(tmp_path: Path, tiny_base: BaseModel) -> Settings:
    """Settings under which the taste ranks a few answers, however unsure it is."""
    pairs = {"ranked_prompts": 6, "ranked_answers": 4, "min_probability": 0.5}
    return tiny_settings(tmp_path, tiny_base.path, pairs=pairs)


@pytest.fixture
def personality(database: Database) -> int:
    with database.transaction() as session:
        return ensure_personality(session)


@pytest.fixture
def prepare(database: Database, personality: int, settings: Settings, tiny_base: BaseModel) -> Prepare:
    """Ask for a round, prepare it, and end it; `when` is called with every progress."""

    def prepare(
        settings: Settings = settings,
        requested_by: str = "admin",
        when: Callable[[RoundProgress], None] = lambda _progress: None,
        ends: RoundStatus = RoundStatus.FAILED,
    ) -> TrainingPlan | Skip:
        round_ = start(database, personality, requested_by)
        plan = prepare_votes(context_of(database, settings, tiny_base, personality, when), round_)
        with database.transaction() as session:
            finish_round(session, round_.id, ends, "the test ends here")
        return plan

    return prepare


def start(database: Database, personality: int, requested_by: str = "admin") -> Round:
    with database.transaction() as session:
        return begin_round(session, personality, requested_by)


def planned(plan: TrainingPlan | Skip) -> TrainingPlan:
    assert isinstance(plan, TrainingPlan), plan
    return plan


def skipped(plan: TrainingPlan | Skip) -> str:
    assert isinstance(plan, str)
    return plan


def seed(database: Database, work: Callable[[Session], Any]) -> Any:
    with database.transaction() as session:
        return work(session)


def add_lone_votes(
    session: Session, base: BaseModel, *, count: int = 12, speakers: tuple[int, ...] = (ALICE,)
) -> list[int]:
    """Add `count` liked answers of many words and `count` disliked ones of one word, each to its own prompt."""
    ids = []
    for answer, value in ((NICE, Vote.UP), (RUDE, Vote.DOWN)):
        for i in range(count):
            prompt = f"<|im_start|>user\n{answer[:3]} question {i}<|im_end|>\n<|im_start|>assistant\n"
            ids.append(add_reply(session, prompt=prompt, answer=answer, base_revision=base.revision, speakers=speakers))
            vote(session, ids[-1], BOB, value)
    return ids


def add_choices(session: Session, base: BaseModel) -> None:
    """Add a dozen choices of one person for many words: too few to be sure of what members like."""
    for i in range(12):
        prompt = f"<|im_start|>user\nquestion {i}<|im_end|>\n<|im_start|>assistant\n"
        both = [add_reply(session, prompt=prompt, answer=said, base_revision=base.revision) for said in (NICE, RUDE)]
        compare(session, *both, ALICE, Better.FIRST, home=(DIRECT, utc_now() - timedelta(days=400)))


def samples(database: Database) -> list[int]:
    with database.snapshot() as session:
        return list(session.scalars(select(ReplyRow.id).where(ReplyRow.origin == Origin.SAMPLE).order_by(ReplyRow.id)))


def last_round(database: Database, personality: int) -> Round:
    with database.snapshot() as session:
        found = latest_round(session, personality)
    assert found is not None
    return found


# The manifest


def test_the_manifest_holds_all_of_the_plan(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare
) -> None:
    def write(session: Session) -> None:
        add_siblings(session, 6, base_revision=tiny_base.revision)
        reply = add_reply(session, prompt="corrected", base_revision=tiny_base.revision)
        add_correction(session, reply, "better", author_id=CAROL)

    seed(database, write)
    plan = planned(prepare())
    round_ = last_round(database, personality)
    with database.snapshot() as session:
        manifest, voters = read_manifest(session, round_.id), read_voters(session, round_.id)
    assert manifest == plan.manifest
    assert round_.manifest_digest == digest_manifest(plan.manifest)
    assert round_.learned_from == plan.learned_from
    assert sorted(voters, key=lambda voter: voter.pseudonym) == sorted(plan.voters, key=lambda voter: voter.pseudonym)
    assert {entry.source for entry in manifest} >= {PairSource.SIBLINGS, PairSource.CORRECTION}
    assert {entry.split for entry in manifest} == {Split.TRAIN}
    assert round_.settings["votes"]["max_voter_share"] == 0.1
    assert "schedule" not in round_.settings["training"]


def test_a_round_that_was_ended_in_the_meantime_gets_no_manifest(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)
    seed(database, lambda session: finish_round(session, round_.id, RoundStatus.INTERRUPTED, "stopped"))
    with pytest.raises(RoundConflict):
        prepare_votes(context_of(database, settings, tiny_base, personality), round_)
    with database.snapshot() as session:
        assert read_manifest(session, round_.id) == []
        assert read_voters(session, round_.id) == []


# The taste


def test_single_thumbs_make_pairs_of_the_champions_answers_to_members_and_bank_prompts(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    phases: list[Phase] = []
    plan = planned(prepare(ranking, when=lambda progress: phases.append(progress.phase)))
    assert set(plan.learned_from["pairs_by_source"]) == {"taste"}
    assert set(phases) == {Phase.SAMPLING}
    with database.snapshot() as session:
        rows = session.scalars(select(ReplyRow).where(ReplyRow.origin == Origin.SAMPLE)).all()
        (bob,) = pseudonyms_of(session, BOB)
        measured = set(session.scalars(select(ReplyMeasuresRow.reply_id)))
        voters = read_voters(session, last_round(database, personality).id)
    by_basis = Counter(row.basis for row in rows)
    assert by_basis == {Basis.LOCAL: 3 * 3, Basis.PROMPT_BANK: 3 * 4}, "members' prompts have an answer already"
    assert {row.author_id for row in rows} == {NOBODY}
    assert {row.id for row in rows if row.answer} <= measured
    bank = {prompt.text for prompt in read_bank("").prompts}
    of_bank = [row for row in rows if row.basis is Basis.PROMPT_BANK]
    assert {row.messages[-1]["content"] for row in of_bank} <= bank
    assert all(ranking.chat.system_prompt.split("\n")[0] in row.prompt for row in of_bank)
    assert [(voter.pseudonym, voter.share) for voter in voters] == [(bob, pytest.approx(1.0))]


def test_the_base_is_asked_with_and_without_its_cards_examples_and_the_round_learns_both_without_them(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    def write(session: Session) -> None:
        add_lone_votes(session, tiny_base)
        change_card(session, read_personality(session, personality), KEEPER, by="admin")

    seed(database, write)
    plan = planned(prepare(ranking))
    with database.snapshot() as session:
        of_bank = session.scalars(
            select(ReplyRow).where(ReplyRow.origin == Origin.SAMPLE, ReplyRow.basis == Basis.PROMPT_BANK)
        ).all()
    after = [row for row in of_bank if len(row.messages) > 2]
    for row in after:
        assert "How is the light?<|im_end|>\n<|im_start|>assistant\nFlat. For now.<|im_end|>" in row.prompt
        assert [said.get("shown_as") for said in row.messages[:3]] == [None, *["example of the card"] * 2]
    by_message = Counter((row.messages[-1]["content"], len(row.messages) > 2) for row in of_bank)
    assert set(by_message.values()) == {ranking.pairs.ranked_answers // 2}, "half of them without"
    assert len(of_bank) == 2 * len(after) > 0
    drawn = {row.id for row in of_bank}
    learned = [pair for pair in plan.train if {pair.chosen.reply_id, pair.rejected.reply_id} <= drawn]
    assert learned
    assert all("Flat" not in plan.prompts[pair.prompt] for pair in learned)
    assert all(ranking.chat.system_prompt.split("\n")[0] in plan.prompts[pair.prompt] for pair in learned)
    before = samples(database)
    assert planned(prepare(ranking)).train == plan.train
    assert samples(database) == before, "the next round finds them"


def test_answers_that_the_base_gave_after_examples_are_ranked_with_those_of_versions(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    (to_version,) = prompts_to_rank([], ["How is the sea?"], serving_of(ranking, tiny_base), 1)

    def write(session: Session) -> int:
        add_lone_votes(session, tiny_base)
        change_card(session, read_personality(session, personality), KEEPER, by="admin")
        add_prompts(session, personality, ["How is the sea?"], "grace")
        version = add_version(session, add_round(session, 0, personality_id=personality), personality_id=personality)
        row = {"version_id": version.id, "base_revision": tiny_base.revision, "basis": Basis.PROMPT_BANK}
        answer = "The sea is calm, of course. It is warm and good, like soup."
        return add_reply(session, prompt=to_version.prompt, answer=answer, origin=Origin.SAMPLE, speakers=(), **row)

    of_version = seed(database, write)
    (pair,) = [pair for pair in planned(prepare(ranking)).train if pair.chosen.reply_id == of_version]
    with database.snapshot() as session:
        of_base = session.get_one(ReplyRow, pair.rejected.reply_id)
    assert of_base.version_id is None
    assert of_base.messages[-1]["content"] == "How is the sea?"


@pytest.mark.parametrize(("say", "is_clear"), [(add_lone_votes, True), (add_choices, False)], ids=["clear", "unclear"])
def test_what_people_like_is_shown_to_the_base_in_the_round_that_draws_it(
    database: Database,
    personality: int,
    tiny_base: BaseModel,
    prepare: Prepare,
    ranking: Settings,
    say: Callable[[Session, BaseModel], Any],
    is_clear: bool,
) -> None:
    (asked,) = prompts_to_rank([], ["How is the sea?"], serving_of(ranking, tiny_base), 1)

    def write(session: Session) -> None:
        say(session, tiny_base)
        add_prompts(session, personality, ["How is the sea?"], "grace")
        row = {"base_revision": tiny_base.revision, "basis": Basis.PROMPT_BANK, "messages": asked.messages}
        add_reply(session, prompt=asked.prompt, answer=NICE, origin=Origin.SAMPLE, speakers=(), **row)

    seed(database, write)
    plan = planned(prepare(ranking))
    with database.snapshot() as session:
        rows = session.scalars(select(ReplyRow).where(ReplyRow.origin == Origin.SAMPLE)).all()
    shown = [row for row in rows if any(said.get("shown_as") == "answer that people like" for said in row.messages)]
    assert len(shown) == ranking.pairs.ranked_prompts * ranking.pairs.ranked_answers // 2, "half of the answers"
    assert all(NICE in row.prompt for row in shown)
    assert not any(NICE in prompt for prompt in plan.prompts.values())
    with database.snapshot() as session:
        status = read_answering_now(session, personality, ranking)
    assert status.liked == ((NICE,) if is_clear else ()), "members are served with it only once it is clear"
    before = samples(database)
    prepare(ranking)
    assert samples(database) == before, "the same votes choose the same examples again"


def test_an_order_that_brings_what_people_like_is_told_to_the_base_and_never_learned(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    settings = ranking.model_copy(update={"pairs": ranking.pairs.model_copy(update={"ranked_prompts": 16})})
    bank = bank_texts(settings.arena.prompts, settings.training.seed)
    tried = prompts_to_rank([], bank, serving_of(settings, tiny_base), FEWEST_PROMPTS)

    def write(session: Session) -> str:
        add_lone_votes(session, tiny_base)
        order = orders_to_try(learn_taste(session, personality, settings), settings.generation)[0].text
        telling = ShownExamples(Examples(order=order), RoundBase(tiny_base, settings.model), settings.generation)
        row = {"base_revision": tiny_base.revision, "basis": Basis.PROMPT_BANK, "origin": Origin.SAMPLE}
        for plain in tried:
            told = telling.before(plain)
            assert told is not None
            fitting = f"{NICE} {plain.messages[-1]['content'].rstrip('?.')}."
            for asked, answer in ((plain, RUDE), (told, fitting)):
                for _ in range(TRIED_ANSWERS):
                    add_reply(session, prompt=asked.prompt, messages=asked.messages, answer=answer, **row, speakers=())
        return order

    order = seed(database, write)
    before = len(samples(database))
    plan = planned(prepare(settings))
    with database.snapshot() as session:
        drawn = session.scalars(select(ReplyRow).where(ReplyRow.origin == Origin.SAMPLE)).all()[before:]
    told = [row for row in drawn if order_in(row.messages) == order]
    by_prompt = Counter(row.prompt for row in told)
    assert set(by_prompt.values()) == {settings.pairs.ranked_answers // 2}, "half of the answers"
    assert all(f"\n{order}" in row.prompt for row in told)
    assert plan.prompts
    assert not any(order in prompt for prompt in plan.prompts.values())
    drawn_before = samples(database)
    prepare(settings)
    assert samples(database) == drawn_before, "the next round finds the same order"


def test_a_prompt_that_came_without_messages_is_asked_as_it_is(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    prompt = "<|im_start|>user\nHow is the sea?<|im_end|>\n<|im_start|>assistant\n"

    def write(session: Session) -> None:
        add_lone_votes(session, tiny_base)
        change_card(session, read_personality(session, personality), KEEPER, by="admin")
        add_local_pair(session, personality, tiny_base.revision, LocalPair(prompt, NICE, RUDE))

    seed(database, write)
    prepare(ranking)
    with database.snapshot() as session:
        drawn = session.scalars(
            select(ReplyRow.prompt).where(ReplyRow.origin == Origin.SAMPLE, ReplyRow.basis == Basis.LOCAL)
        ).all()
    assert drawn.count(prompt) == ranking.pairs.ranked_answers - 1, "the pair's worse answer is one of them"


def add_contest(session: Session, base: BaseModel, message: str) -> tuple[int, int]:
    """Add an answer of the base, which saw an example, and a better one of a version; return their ids."""
    version = add_version(session, add_round(session, 0))
    chat = load_chat_format(base.path, {})
    plain = [{"role": "user", "content": message}]
    shown = turns_of([KEEPER.examples[0].dialogue], ShownAs.CARD)
    common: dict[str, Any] = {"base_revision": base.revision, "basis": Basis.PROMPT_BANK, "speakers": ()}
    both = (
        add_reply(session, prompt=chat.render(shown + plain), messages=shown + plain, answer=RUDE, **common),
        add_reply(session, prompt=chat.render(plain), messages=plain, answer=NICE, version_id=version.id, **common),
    )
    compare(session, *both, ALICE, Better.SECOND, home=(DIRECT, utc_now() - timedelta(days=400)))
    return both


def test_a_choice_between_the_base_with_examples_and_a_version_makes_a_pair(
    database: Database, tiny_base: BaseModel, prepare: Prepare
) -> None:
    messages = ("Is it calm?", "Is it deep?")
    contests = seed(database, lambda session: {add_contest(session, tiny_base, message)[::-1] for message in messages})
    plan = planned(prepare())
    assert {(pair.chosen.reply_id, pair.rejected.reply_id) for pair in plan.train} == contests
    assert set(plan.learned_from["pairs_by_source"]) == {PairSource.CHOICE}
    chat = load_chat_format(tiny_base.path, {})
    learned = {chat.render([{"role": "user", "content": message}]) for message in messages}
    assert {plan.prompts[pair.prompt] for pair in plan.train} == learned, "a version is asked without examples"


def test_the_taste_does_not_rank_what_people_chose_between(
    database: Database, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    compared = set(seed(database, lambda session: add_contest(session, tiny_base, "Is it calm?")))
    sources = {
        pair.source
        for pair in planned(prepare(ranking)).train
        if compared & {pair.chosen.reply_id, pair.rejected.reply_id}
    }
    assert sources == {PairSource.CHOICE}


def test_prompts_that_somebody_added_in_the_console_come_before_those_of_the_bank(
    database: Database, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    added = [f"our own question {i}" for i in range(9)]

    def add(session: Session) -> None:
        add_lone_votes(session, tiny_base)
        add_prompts(session, 1, added, "grace")

    seed(database, add)
    prepare(ranking)
    with database.snapshot() as session:
        prompts = set(session.scalars(select(ReplyRow.prompt).where(ReplyRow.basis == Basis.PROMPT_BANK)))
    most = ranking.pairs.ranked_prompts
    assert sum("our own question" in prompt for prompt in prompts) == int(most * drawing.OWN_SHARE) > 0


def test_drawn_answers_outlive_a_failed_round_and_are_not_drawn_again_even_if_empty(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    first = planned(prepare(ranking))
    drawn = samples(database)
    assert len(drawn) == 21
    digest = last_round(database, personality).manifest_digest
    phases: list[Phase] = []
    second = planned(prepare(ranking, when=lambda progress: phases.append(progress.phase)))
    assert samples(database) == drawn
    assert second.train == first.train
    assert last_round(database, personality).manifest_digest == digest is not None
    assert Phase.SAMPLING not in phases
    # An answer that came out empty is kept as a sample without words, of which no pair can be made.
    seed(database, lambda session: session.execute(update(ReplyRow).where(ReplyRow.id.in_(drawn)).values(answer="")))
    assert skipped(prepare(ranking)).startswith("0 pairs")
    assert samples(database) == drawn


def test_a_round_that_is_interrupted_while_it_draws_keeps_what_it_drew(
    database: Database, tiny_base: BaseModel, prepare: Prepare, ranking: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "AT_ONCE", 4)
    seed(database, lambda session: add_lone_votes(session, tiny_base))

    def fail(progress: RoundProgress) -> None:
        if progress.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(ranking, when=fail)
    assert len(samples(database)) == 4


def test_votes_of_one_kind_only_teach_what_they_can_and_the_round_says_what_is_missing(
    database: Database, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    def like_everything(session: Session) -> None:
        for i in range(9):
            vote(session, add_reply(session, prompt=f"p{i}", base_revision=tiny_base.revision), BOB, Vote.UP)

    seed(database, like_everything)
    reason = skipped(prepare(ranking))
    assert reason.startswith("0 pairs to learn from, 2 needed: vote on answers, suggest better ones")
    assert reason.endswith("; training uses only members' own comparisons until there are 10 more votes or choices")


def test_thumbs_that_do_not_show_what_people_like_start_no_round(
    database: Database, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    """Twelve votes once were enough for a first version, which then kept its seat for days."""

    def vote_by_chance(session: Session) -> None:
        answers = [answer for answered in read_community_answers() for answer in answered.answers]
        for i, answer in enumerate(answers[:24]):
            reply = add_reply(session, answer=answer, prompt=f"p{i}", base_revision=tiny_base.revision)
            vote(session, reply, (ALICE, BOB, CAROL)[i % 3], Vote.UP if i % 4 else Vote.DOWN)

    seed(database, vote_by_chance)
    reason = skipped(prepare(ranking))
    assert reason.endswith("; I can't tell yet what members like, so training uses only their own comparisons")
    assert samples(database) == []


def test_the_ranking_can_be_turned_off(database: Database, tiny_base: BaseModel, prepare: Prepare) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    assert skipped(prepare()).startswith("0 pairs")
    assert samples(database) == []


def test_reactions_that_the_operator_does_not_learn_from_rank_nothing(
    database: Database, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    off = ranking.privacy.model_copy(update={"learn_from_reactions": False})
    assert skipped(prepare(ranking.model_copy(update={"privacy": off}))).startswith("0 pairs")
    assert samples(database) == []


# What people said


def test_a_regenerated_answer_that_nobody_voted_on_is_the_worse_one(
    database: Database, tiny_base: BaseModel, prepare: Prepare
) -> None:
    def regenerate(session: Session) -> list[int]:
        rows = {"prompt": "p", "base_revision": tiny_base.revision, "source_message_id": 5}
        first, second = (add_reply(session, answer=answer, **rows) for answer in ("first try", "second try"))
        vote(session, second, ALICE, Vote.UP)
        add_siblings(session, 2, base_revision=tiny_base.revision)
        return [first, second]

    first, second = seed(database, regenerate)
    plan = planned(prepare())
    (pair,) = (pair for pair in plan.train if plan.prompts[pair.prompt] == "p")
    assert pair.rows == (second, first, None)
    assert 1 / 3 < pair.weight < 2 / 3, "surer than against an answer of which nothing is known"


# What changes while a round is prepared


@pytest.fixture
def bot(settings: Settings, database: Database) -> Iterator[Database]:
    """The same rows from another process, which waits for nobody."""
    url = f"{settings.database_url}?timeout=0.05"
    bot = open_database(settings.model_copy(update={"database": DatabaseSettings(url=url)}))
    yield bot
    bot.close()


def before(database: Database, words: str, work: Callable[[], Any]) -> None:
    """Do some work whenever a statement with these words is about to run."""

    def intrude(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if words in statement:
            work()

    event.listen(database.engine, "before_cursor_execute", intrude)


@pytest.mark.parametrize("undo", [delete_member, withdraw_consent])
def test_data_deleted_between_plan_and_manifest_is_not_trained_on(
    database: Database,
    personality: int,
    tiny_base: BaseModel,
    tmp_path: Path,
    bot: Database,
    undo: Callable[[Session, int], Any],
) -> None:
    def chat(session: Session) -> None:
        give_consent(session, ALICE)
        for number in range(3):
            for answer, value in (("yes", Vote.UP), ("no", Vote.DOWN)):
                rows = {"prompt": f"p{number}", "answer": answer, "basis": Basis.LIVE_CHAT}
                vote(session, add_reply(session, base_revision=tiny_base.revision, **rows), BOB, value)

    seed(database, chat)
    round_ = start(database, personality)
    permitted = tiny_settings(tmp_path, tiny_base.path, discord_training_permission=True)
    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, lambda session: undo(session, ALICE)))
    plan = prepare_votes(context_of(database, permitted, tiny_base, personality), round_)
    assert skipped(plan).startswith("0 pairs")
    with database.snapshot() as session:
        assert read_manifest(session, round_.id) == []


def test_members_vote_while_a_round_reads_their_votes(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)
    before(database, "FROM vote_events", lambda: seed(bot, lambda session: vote(session, 1, CAROL, Vote.UP)))
    plan = prepare_votes(context_of(database, settings, tiny_base, personality), round_)
    assert planned(plan).learned_from["votes"] == 9


def test_members_vote_while_a_round_is_planned_again(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    """Somebody else takes back their consent between plan and manifest, and CAROL votes during every reading."""

    def write(session: Session) -> None:
        give_consent(session, ALICE)
        add_siblings(session, 4, base_revision=tiny_base.revision)

    seed(database, write)
    round_ = start(database, personality)
    readings: list[str] = []

    def like() -> None:
        readings.append("votes")
        seed(bot, lambda session: vote(session, 1, CAROL, Vote.UP if len(readings) % 2 else Vote.DOWN))

    before(database, "FROM vote_events", like)
    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, lambda session: withdraw_consent(session, ALICE)))
    planned(prepare_votes(context_of(database, settings, tiny_base, personality), round_))
    assert len(readings) >= 3, "bursts, the first plan, the second"


def test_consent_given_during_a_round_waits_for_the_next_round(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)

    def consent_and_vote(session: Session) -> None:
        give_consent(session, CAROL)
        vote(session, 1, CAROL, Vote.UP)

    context = context_of(database, settings, tiny_base, personality)
    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, consent_and_vote))
    plan = prepare_votes(context, round_)
    assert planned(plan).learned_from["votes"] == 8, "another plan would have seen the ninth"


def test_a_suggestion_withdrawn_between_plan_and_manifest_is_not_learned_from(
    database: Database, personality: int, tiny_base: BaseModel, tmp_path: Path, bot: Database
) -> None:
    def correct(session: Session) -> list[int]:
        replies = [
            add_reply(session, prompt=f"p{i}", answer="wrong", base_revision=tiny_base.revision) for i in range(3)
        ]
        return [add_correction(session, reply, "right", author_id=CAROL) for reply in replies]

    withdrawn, *standing = seed(database, correct)
    round_ = start(database, personality)
    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, lambda session: withdraw(session, withdrawn, CAROL)))
    settings = tiny_settings(tmp_path, tiny_base.path)
    plan = prepare_votes(context_of(database, settings, tiny_base, personality), round_)
    assert sorted(pair.chosen.correction_id or 0 for pair in planned(plan).train) == standing
    with database.snapshot() as session:
        assert read_manifest(session, round_.id) == planned(plan).manifest


def test_votes_held_back_between_plan_and_manifest_do_not_count(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    """One more vote makes a burst of those that the plan counted."""
    *crowd, last = range(901, 901 + settings.votes.burst_votes)

    def write(session: Session) -> int:
        add_reply(session, prompt="talk", speakers=[BOB], base_revision=tiny_base.revision)
        add_siblings(session, 3, base_revision=tiny_base.revision)
        add_reply(session, prompt="pushed", answer="rival", base_revision=tiny_base.revision)
        pushed = add_reply(session, prompt="pushed", answer="pushed", base_revision=tiny_base.revision)
        for user_id in crowd:
            vote(session, pushed, user_id, Vote.UP)
        return pushed

    def push(session: Session) -> None:
        vote(session, pushed, last, Vote.UP)
        for burst in new_bursts(session, personality, settings.votes):
            quarantine_votes(session, personality, burst)

    pushed = seed(database, write)
    round_ = start(database, personality)
    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, push))
    plan = prepare_votes(context_of(database, settings, tiny_base, personality), round_)
    assert planned(plan).learned_from["pairs_by_source"] == {"siblings": 3}
    with database.snapshot() as session:
        assert pushed not in {entry.chosen_reply_id for entry in read_manifest(session, round_.id)}


def test_a_round_that_cannot_be_planned_in_peace_is_left_alone(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    """Somebody deletes their data after every plan."""
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)
    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, lambda session: delete_member(session, CAROL)))
    plan = prepare_votes(context_of(database, settings, tiny_base, personality), round_)
    assert skipped(plan) == (
        "votes or suggestions were taken back, deleted or put on hold 10 times while this round was planned: "
        "start a new round"
    )
    with database.snapshot() as session:
        assert read_manifest(session, round_.id) == []


def during_sampling(work: Callable[[], Any]) -> Callable[[RoundProgress], None]:
    """Return what does some work once, when the first samples are drawn."""
    done: list[bool] = []

    def when(progress: RoundProgress) -> None:
        if progress.phase is Phase.SAMPLING and not done:
            done.append(True)
            work()

    return when


def test_data_deleted_while_answers_are_drawn_is_not_trained_on(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    def write(session: Session) -> tuple[list[int], list[int]]:
        others = add_lone_votes(session, tiny_base)
        return add_lone_votes(session, tiny_base, count=6, speakers=(CAROL,)), others

    hers, others = seed(database, write)
    when = during_sampling(lambda: seed(database, lambda session: delete_member(session, CAROL)))
    more = ranking.pairs.model_copy(update={"ranked_prompts": 32})
    plan = planned(prepare(ranking.model_copy(update={"pairs": more}), when=when))
    with database.snapshot() as session:
        left = session.execute(select(ReplyRow.id, ReplyRow.basis)).all()
        manifest = read_manifest(session, last_round(database, personality).id)
    assert not {row.id for row in left} & set(hers)
    assert set(others) <= {row.id for row in left}
    assert {side.reply_id for pair in plan.train for side in (pair.chosen, pair.rejected)} <= {row.id for row in left}
    assert manifest == plan.manifest


@pytest.mark.parametrize("undo", [delete_member, withdraw_consent])
def test_votes_taken_back_while_answers_are_drawn_do_not_count(
    database: Database, tiny_base: BaseModel, prepare: Prepare, ranking: Settings, undo: Callable[[Session, int], Any]
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    when = during_sampling(lambda: seed(database, lambda session: undo(session, BOB)))
    assert skipped(prepare(ranking, when=when)).startswith("0 pairs")


def test_a_version_is_marked_if_somebody_whose_votes_made_its_taste_opts_out(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    prepare(ranking)
    with database.transaction() as session:
        of_round = {"round_id": last_round(database, personality).id, "parent_id": None}
        rows = {"digest": "d" * 64, "base_name": "tiny", "base_revision": tiny_base.revision, "metrics": {}}
        version = register(session, personality, NewVersion(**of_round, **rows))
    seed(database, lambda session: withdraw_consent(session, CAROL))
    with database.snapshot() as session:
        assert not find_version(session, version.id).trained_on_deleted_data
    seed(database, lambda session: withdraw_consent(session, BOB))
    with database.snapshot() as session:
        assert find_version(session, version.id).trained_on_deleted_data


def test_a_version_is_marked_if_somebody_is_deleted_whose_taste_weighed_the_votes_of_others(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, settings: Settings
) -> None:
    def write(session: Session) -> None:
        add_lone_votes(session, tiny_base, count=40)
        for i in range(8):
            for answer, value in ((NICE, Vote.UP), (RUDE, Vote.DOWN)):
                prompt = f"<|user|>question {i}<|bot|>"
                vote(session, add_reply(session, prompt=prompt, answer=answer, base_revision=revision), CAROL, value)

    revision, few = tiny_base.revision, settings.pairs.model_copy(update={"ranked_prompts": 0})
    seed(database, write)
    plan = planned(prepare(settings.model_copy(update={"pairs": few})))
    assert plan.learned_from["pairs_by_source"] == {"siblings": 8}
    round_id = last_round(database, personality).id
    version = seed(database, lambda session: add_version(session, round_id, personality_id=personality))
    assert seed(database, lambda session: delete_member(session, BOB)).marked == (version.name,)


def test_a_promotion_while_answers_are_drawn_changes_nothing_of_the_round(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, ranking: Settings
) -> None:
    def promote_another(session: Session) -> None:
        round_id = add_round(session, 0, personality_id=personality)
        version = add_version(session, round_id, personality_id=personality)
        promote(session, personality, version, expected_generation=0, by="admin", reason="meanwhile")

    seed(database, lambda session: add_lone_votes(session, tiny_base))
    plan = planned(prepare(ranking, when=during_sampling(lambda: seed(database, promote_another))))
    assert plan.start.starter is None, "rounds start from the base, whoever answers"
    with database.snapshot() as session:
        origins = session.scalars(select(ReplyRow.version_id).where(ReplyRow.origin == Origin.SAMPLE)).all()
    assert set(origins) == {None}, "they were drawn from the base"


# Votes that do not count


def test_bursts_are_quarantined_before_a_round_reads_the_votes(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare
) -> None:
    """Six accounts that never talked with the bot like one answer within a minute."""

    def write(session: Session) -> None:
        add_siblings(session, 3, base_revision=tiny_base.revision)
        pushed = add_reply(session, prompt="pushed", answer="pushed", base_revision=tiny_base.revision)
        add_reply(session, prompt="pushed", answer="rival", base_revision=tiny_base.revision)
        for user_id in range(901, 907):
            vote(session, pushed, user_id, Vote.UP)

    seed(database, write)
    plan = planned(prepare())
    assert "pushed" not in plan.prompts.values()
    assert plan.learned_from["votes"] == 12
    assert plan.learned_from["removed_shares"]["quarantine"] == pytest.approx(6 / 12)

    def count_them(session: Session) -> None:
        (found,) = open_quarantines(session, [personality])
        decide_quarantine(session, found.id, QuarantineStatus.COUNTED, "admin", "they are friends")

    seed(database, count_them)
    plan = planned(prepare())
    assert "pushed" in plan.prompts.values()
    assert "quarantine" not in plan.learned_from["removed_shares"]


def test_a_round_without_votes_that_count_says_what_became_of_them(
    database: Database, tiny_base: BaseModel, prepare: Prepare
) -> None:
    """A pick in an arena is a choice, however it is stored."""
    newcomer = account(days_old=0.01)

    def write(session: Session) -> None:
        for i in range(3):
            for answer, value in (("good", Vote.UP), ("bad", Vote.DOWN)):
                reply = add_reply(session, prompt=f"p{i}", answer=answer, base_revision=tiny_base.revision)
                vote(session, reply, newcomer, value)
        asked = {"base_revision": tiny_base.revision, "origin": Origin.ARENA}
        in_arena = [add_reply(session, **asked) for _ in range(4)]
        add_arena(session, in_arena)
        for reply, value in zip(in_arena, [Vote.UP, *[Vote.DOWN] * 3], strict=True):
            vote(session, reply, newcomer, value)

    seed(database, write)
    assert skipped(prepare()).endswith("; 6 votes so far, of which the rules removed 100% (account age)")


# Nothing to do


def test_too_few_pairs_say_how_many_are_missing(database: Database, tiny_base: BaseModel, prepare: Prepare) -> None:
    seed(database, lambda session: add_siblings(session, 1, base_revision=tiny_base.revision))
    remedy = "vote on answers, suggest better ones, or press 🔁 for another answer and vote on both"
    missing = f"1 pair to learn from, 2 needed: {remedy}"
    assert skipped(prepare()) == missing
    seed(database, lambda session: add_reply(session, basis=None, base_revision=tiny_base.revision))
    closed = "messages on Discord are not used for training (privacy.discord_training_permission = false)"
    assert skipped(prepare()) == f"{missing}; {closed}"


def test_a_scheduled_round_needs_something_new(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, prepare: Prepare
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    planned(prepare(requested_by="schedule", ends=RoundStatus.FAILED))
    planned(prepare(requested_by="schedule", ends=RoundStatus.PUBLISHED))
    trained = last_round(database, personality).id
    assert skipped(prepare(requested_by="schedule", ends=RoundStatus.SKIPPED)) == (
        f"no new votes or suggestions since round {trained}, which trained on the same pairs"
    )
    planned(prepare(requested_by="admin", ends=RoundStatus.INTERRUPTED))
    otherwise = tiny_settings(settings.data.directory, tiny_base.path, beta=0.5)
    planned(prepare(otherwise, requested_by="schedule", ends=RoundStatus.INTERRUPTED))
    seed(database, lambda session: vote(session, 1, CAROL, Vote.UP))
    planned(prepare(requested_by="schedule"))


def add_compared_version(session: Session, personality: int, days: float) -> Version:
    """Add a version of that age that learned from 3 votes and 5 choices and waits for people's choices."""
    counts = {"votes": 3, "choices": 5}
    round_id = add_round(session, 0, personality_id=personality, learned_from={"counts": counts})
    version = add_version(session, round_id, personality_id=personality, verdict=GateVerdict.NOT_ENOUGH_EVIDENCE)
    made_at = utc_now() - timedelta(days=days)
    session.execute(update(VersionRow).where(VersionRow.id == version.id).values(created_at=made_at))
    return version


@pytest.mark.parametrize(
    ("days", "votes", "choices", "waits"),
    [(1, 0, 0, True), (8, 0, 7, True), (8, 7, 0, True), (8, 7, 1, False), (10, 0, 0, False), (29, 0, 0, False)],
    ids=str,
)
def test_a_scheduled_round_does_not_replace_a_version_that_people_are_comparing(
    database: Database,
    personality: int,
    tiny_base: BaseModel,
    prepare: Prepare,
    days: int,
    votes: int,
    choices: int,
    waits: bool,
) -> None:
    """Eight votes are there. Nobody has compared it yet, so that after ten days the 18 left cannot decide."""

    def write(session: Session) -> None:
        add_siblings(session, 4, base_revision=tiny_base.revision)
        add_compared_version(session, personality, days)
        for _ in range(votes):
            vote(session, add_reply(session, base_revision=tiny_base.revision), CAROL, Vote.UP)
        for _ in range(choices):
            compare(session, *ask_twice(session, None, None), CAROL, Better.FIRST)

    seed(database, write)
    plan = prepare(requested_by="schedule")
    if waits:
        assert skipped(plan) == (
            "members are comparing v1 with the version in use: the next scheduled round waits for 16 votes and "
            "choices, or 28 days"
        )
    else:
        planned(plan)
    planned(prepare(requested_by="admin"))


def test_votes_that_no_taste_learns_from_end_the_wait_too(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, settings: Settings
) -> None:
    def write(session: Session) -> None:
        add_siblings(session, 8, base_revision=tiny_base.revision)
        add_compared_version(session, personality, 8)

    seed(database, write)
    privacy = settings.privacy.model_copy(update={"learn_from_reactions": False})
    plan = planned(prepare(settings.model_copy(update={"privacy": privacy}), requested_by="schedule"))
    assert plan.learned_from["counts"] == {"votes": 16, "choices": 0, "others": 0, "people": 1}


@pytest.mark.parametrize("question", [{}, {"prompt": "hi"}], ids=["other questions", "the same question"])
def test_choices_that_judge_a_version_do_not_end_its_comparison(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, question: dict[str, str]
) -> None:
    """Thirty pairs are both good, and somebody picks in thirty arenas."""

    def write(session: Session) -> None:
        add_siblings(session, 4, base_revision=tiny_base.revision)
        version = add_compared_version(session, personality, 2)
        for _ in range(30):
            answers = ask_twice(session, version, None, **question)
            compare(session, *answers, CAROL, Better.SAME, by_admin=True)
            for reply_id in answers:
                vote(session, reply_id, CAROL, Vote.UP)
            of_arena = ask_twice(session, version, None, **question)
            add_arena(session, of_arena, status=ArenaStatus.CLOSED, closed_at=utc_now())
            vote(session, of_arena[1], CAROL, Vote.UP)
            for origin, drawn in ((Origin.SITTING, answers), (Origin.ARENA, of_arena)):
                session.execute(update(ReplyRow).where(ReplyRow.id.in_(drawn)).values(origin=origin))

    seed(database, write)
    assert "are comparing v1" in skipped(prepare(requested_by="schedule"))
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    planned(prepare(requested_by="schedule"))


@pytest.mark.parametrize(("days", "wins", "waits"), [(2, 3, True), (29, 3, False), (2, 1, False)])
def test_a_version_that_leads_is_not_replaced_before_people_have_decided(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, days: int, wins: int, waits: bool
) -> None:
    """One choice is no lead: then twice the votes make a better version."""

    def write(session: Session) -> None:
        add_siblings(session, 8, base_revision=tiny_base.revision)
        version = add_compared_version(session, personality, days)
        for member in (ALICE, BOB, CAROL)[:wins]:
            compare(session, *ask_twice(session, version, None), member, Better.FIRST)

    seed(database, write)
    plan = prepare(requested_by="schedule")
    if waits:
        assert skipped(plan) == (
            "members are comparing v1 with the version in use, and it leads: the next scheduled round waits for their "
            "decision or 28 days"
        )
    else:
        planned(plan)
