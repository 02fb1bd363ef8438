"""Rounds from the votes to a version: what is published, what is not, and what the round's row tells."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from bot.text.rounds import describe_metrics
from storage.adapters.folder_store import AdapterStore
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import GateVerdict, PairSource, RoundStatus, Split, TrainingSource
from storage.database.tables import RoundRow
from storage.models.base_model import BaseModel
from storage.models.free_memory import FreeMemory
from storage.personalities.cards import Card
from storage.personalities.personalities import (
    create_personality,
    ensure_personality,
    list_personalities,
    load_cards,
    personality_named,
)
from storage.releases.bases import ConfiguredBase, record_base
from storage.releases.promotion import promote
from storage.releases.versions import Version, list_versions, read_alias
from storage.settings.sections import PersonalitySettings, Settings
from storage.training.rounds import (
    MEMORY_RAN_OUT,
    ManifestPair,
    Round,
    digest_manifest,
    finish_round,
    interrupt_rounds,
    renew_lease,
    require_round,
)
from storage.votes.votes import Vote
from tests.few_questions import EVERY
from tests.seeding import (
    BOB,
    CAROL,
    TOLERANT,
    add_correction,
    add_reply,
    add_siblings,
    pseudonyms_of,
    read_manifest,
    read_voters,
    tiny_settings,
    vote,
)
from tests.tiny_model import build_tiny_base
from tests.trainer.contexts import begin_round
from tests.trainer.judgements import JUDGEMENT
from tests.trainer.rounds.quick import answer_hello, approve, train_endlessly, train_quickly
from trainer.errors import TrainingDiverged
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.model_measurements import NEUTRAL_MESSAGES
from trainer.evaluation.results import Evaluation
from trainer.progress import Phase, ProgressLog, ReportProgress, RoundProgress
from trainer.rounds.round import Evaluate, Train, run_round
from trainer.training.train import TrainingJob, train_adapter

Run = Callable[..., Round]


@pytest.fixture
def base(tiny_base: BaseModel) -> Path:
    return tiny_base.path


@pytest.fixture
def revision(tiny_base: BaseModel) -> str:
    return tiny_base.revision


@pytest.fixture
def run(database: Database, settings: Settings) -> Run:
    """Ask for a round, run it in this process, and return how it ended. Nothing is learned unless the test asks."""

    def run(
        settings: Settings = settings,
        requested_by: str = "admin",
        train: Train = train_quickly,
        evaluate: Evaluate = approve,
    ) -> Round:
        round_ = start(database, requested_by)
        run_round(settings, round_.id, train=train, evaluate=evaluate)
        return look(database, round_.id)

    return run


@pytest.fixture(scope="module")
def kept_for_bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


@pytest.fixture
def learn(run: Run, settings: Settings, kept_for_bases: Path, few_questions: None) -> Run:
    """Run a real round. Rounds share what they keep of a base."""
    (settings.data.directory / "base").symlink_to(kept_for_bases)
    return partial(run, train=train_adapter, evaluate=evaluate)


def start(database: Database, requested_by: str = "admin", learns_from: TrainingSource = TrainingSource.VOTES) -> Round:
    with database.transaction() as session:
        return begin_round(session, ensure_personality(session), requested_by, learns_from)


def look(database: Database, round_id: int) -> Round:
    with database.snapshot() as session:
        return require_round(session, round_id)


def manifest_of(database: Database, round_: Round) -> list[ManifestPair]:
    with database.snapshot() as session:
        return read_manifest(session, round_.id)


def crown(database: Database, version: Version) -> None:
    """Make the version the champion with any verdict of the gate."""
    with database.transaction() as session:
        generation = read_alias(session, version.personality_id).generation
        promote(
            session,
            version.personality_id,
            version,
            expected_generation=generation,
            by="admin",
            reason="it is nicer",
            override=True,
        )


def champion(database: Database) -> Version | None:
    with database.snapshot() as session:
        return read_alias(session, 1).version


def seed(database: Database, work: Callable[[Session], object]) -> None:
    with database.transaction() as session:
        work(session)


def versions(database: Database) -> list[Version]:
    with database.transaction() as session:
        return list_versions(session, ensure_personality(session))


def published_folders(settings: Settings) -> list[str]:
    folder = settings.data.directory / "adapters"
    return sorted(path.name for path in folder.glob("[!.]*"))


def test_votes_become_a_version_with_its_lineage(
    database: Database, revision: str, settings: Settings, learn: Run
) -> None:
    seed(database, lambda session: add_siblings(session, 6, base_revision=revision))
    ended = learn()
    assert (ended.status, ended.reason) == (
        RoundStatus.PUBLISHED,
        "v1 learned from 6 pairs; now members compare it with the version in use, without knowing which is which",
    )
    [version] = versions(database)
    assert (version.name, version.parent_id, version.round_id) == ("v1", None, ended.id)
    assert version.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE
    assert version.metrics == ended.metrics
    assert (version.metrics["objective"], version.metrics["pairs"], version.metrics["validation_pairs"]) == (
        "dpo",
        6,
        0,
    )
    assert (version.metrics["messages"], version.metrics["real_messages"]) == (11, 6)
    assert "answers to 5 messages of our own and 6 of members" in json.dumps(ended.gate)
    everyday, before = version.metrics["everyday"], version.metrics["before"]
    assert [message for message, _ in everyday] == list(NEUTRAL_MESSAGES[::EVERY][:3])
    assert (before["version_id"], len(before["answers"])) == (None, 3)
    assert AdapterStore(settings.data.directory / "adapters").path(version.digest).is_dir()
    assert published_folders(settings) == [version.digest]
    manifest = manifest_of(database, ended)
    assert champion(database) is None, "only an admin promotes"
    assert [line.split for line in manifest] == [Split.TRAIN] * 6
    assert {line.source for line in manifest} == {PairSource.SIBLINGS}
    assert ended.manifest_digest == digest_manifest(manifest)


def test_a_round_shows_how_it_used_the_votes(database: Database, revision: str, run: Run) -> None:
    def write(session: Session) -> None:
        add_siblings(session, 6, base_revision=revision)
        reply = add_reply(session, prompt="corrected", base_revision=revision)
        add_correction(session, reply, "better", author_id=CAROL)

    seed(database, write)
    ended = run()
    learned_from = ended.learned_from
    assert set(learned_from) == {"votes", "counts", "removed_shares", "voters", "pairs_by_source", "notes"}
    assert (learned_from["votes"], learned_from["voters"]) == (12, 2)
    assert sum(learned_from["pairs_by_source"].values()) == ended.metrics["pairs"]
    assert "from answers to the same question" in ended.reason
    told = json.dumps([learned_from, ended.gate, ended.metrics, ended.settings])
    for member in (BOB, CAROL):
        assert re.search(rf"(?<![\d.]){member}(?![\d.])", told) is None
    with database.snapshot() as session:
        voters = read_voters(session, ended.id)
        expected = set(pseudonyms_of(session, BOB, CAROL))
    assert {voter.pseudonym for voter in voters} == expected
    assert sum(voter.share for voter in voters) == pytest.approx(1)


def test_the_champion_answers_beside_the_next_version(database: Database, revision: str, run: Run) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    run(train=train_adapter)
    crown(database, versions(database)[0])
    run(evaluate=answer_hello)
    second, before = versions(database)
    assert second.metrics["before"]["version_id"] == before.id


# The gate


def test_a_version_that_no_check_vetoes_waits_for_people(
    database: Database, revision: str, settings: Settings, base: Path, run: Run
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=revision))
    ended = run(tiny_settings(settings.data.directory, base, release={"auto_promote": True}))
    [version] = versions(database)
    assert (ended.status, version.verdict) == (RoundStatus.PUBLISHED, GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert ended.gate["verdict"] == "not enough evidence"
    checks = {check["name"]: check for check in ended.gate["checks"]}
    assert checks["people"]["sentence"] == "members have not compared it with the version in use yet"
    assert {check["outcome"] for name, check in checks.items() if name != "people"} == {"pass"}
    assert champion(database) is None


def test_a_version_that_a_check_vetoes_is_kept_and_never_released_automatically(
    database: Database, revision: str, settings: Settings, base: Path, run: Run
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=revision))
    strict = tiny_settings(settings.data.directory, base, release={"auto_promote": True}, max_divergence=1e-12)
    ended = run(strict, train=train_adapter)
    [version] = versions(database)
    assert (ended.status, version.verdict, ended.gate["verdict"]) == (RoundStatus.PUBLISHED, GateVerdict.FAIL, "fail")
    assert ended.reason.startswith("v1 learned from 4 pairs and failed the checks: answers moved")
    assert champion(database) is None


def test_the_gate_holds_back_what_goes_too_far(
    database: Database, revision: str, settings: Settings, base: Path, learn: Run
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=revision))
    further = learn(tiny_settings(settings.data.directory, base, epochs=3.0))
    limit = further.metrics["divergence"] / 2
    held = learn(tiny_settings(settings.data.directory, base, epochs=3.0, max_divergence=limit))
    assert [ended.metrics["epochs_trained"] for ended in (further, held)] == [3.0, 3.0]
    assert (further.metrics["strength"], further.metrics["lowered_for"]) == (1.0, None)
    assert held.metrics["divergence"] <= limit
    assert (held.metrics["strength"] < 1.0, held.metrics["lowered_for"]) == (True, "divergence")
    assert (held.status, held.gate["verdict"]) == (RoundStatus.PUBLISHED, GateVerdict.NOT_ENOUGH_EVIDENCE)
    assert f"strength {held.metrics['strength']:g} (a stronger one failed “divergence”)" in describe_metrics(
        held.metrics
    )
    assert len({version.digest for version in versions(database)}) == 2


@pytest.mark.parametrize(
    ("found", "stored", "reason"),
    [
        ({"degenerate_share": 1.0}, {"degenerate_share": 1.0}, "100% of answers are broken (base 5%; limit +20%)"),
        ({"retention_loss_ratio": math.nan}, {"retention_loss_ratio": None}, "not a number: "),
    ],
    ids=["broken answers", "no numbers"],
)
def test_a_broken_version_is_never_kept(
    database: Database,
    revision: str,
    settings: Settings,
    base: Path,
    run: Run,
    found: dict[str, float],
    stored: dict[str, Any],
    reason: str,
) -> None:
    """The last step of all may break the weights, so that no loss tells it any more."""

    def find_it_broken(*_asked: object) -> Evaluation:
        return replace(JUDGEMENT, **found)

    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    gate = {"tolerance": {**TOLERANT, "broken": 1.3}}
    released = tiny_settings(settings.data.directory, base, release={"auto_promote": True}, gate=gate)
    ended = run(released, train=train_adapter, evaluate=find_it_broken)
    assert ended.status is RoundStatus.REJECTED
    assert ended.reason.startswith(f"the new version is broken and was not kept: {reason}")
    assert stored.items() <= ended.metrics.items()
    assert ended.gate["verdict"] == "fail"
    assert versions(database) == []
    assert published_folders(settings) == []
    assert champion(database) is None


def test_a_mistake_in_a_suite_stops_the_round_before_it_trains(
    database: Database, revision: str, settings: Settings, base: Path, run: Run, tmp_path: Path
) -> None:
    suite = tmp_path / "house rules.jsonl"
    suite.write_text('{"id": "a", "prompt": "Hi", "must": ["hi"]}\n{"id": "b", "prompt": "Hi"\n', encoding="utf-8")
    seed(database, lambda session: add_siblings(session, 4, base_revision=revision))
    ended = run(tiny_settings(settings.data.directory, base, gate={"suites": (suite,)}))
    assert ended.status is RoundStatus.FAILED
    assert f"{suite}, line 2" in ended.reason
    assert (ended.progress["phase"], ended.manifest_digest) == (Phase.GATHERING, None)
    assert published_folders(settings) == []


# What rounds learn from


def test_lone_votes_become_a_version(
    database: Database, revision: str, settings: Settings, base: Path, run: Run
) -> None:
    def vote_on_each(session: Session) -> None:
        for i in range(24):
            answer = "Yes, of course, it is warm and good." if i % 2 else "No"
            reply = add_reply(session, prompt=f"<|user|>question {i}<|bot|>", answer=answer, base_revision=revision)
            vote(session, reply, BOB, Vote.UP if i % 2 else Vote.DOWN)

    seed(database, vote_on_each)
    pairs = {"ranked_prompts": 8, "ranked_answers": 4, "min_probability": 0.5}
    ended = run(tiny_settings(settings.data.directory, base, pairs=pairs))
    assert ended.status is RoundStatus.PUBLISHED, ended.reason
    assert {line.source for line in manifest_of(database, ended)} == {PairSource.TASTE}
    with database.snapshot() as session:
        (voter,) = read_voters(session, ended.id)
        (bob,) = pseudonyms_of(session, BOB)
    assert (voter.pseudonym, voter.share, voter.influence) == (bob, pytest.approx(1.0), pytest.approx(1.0))


def test_a_round_is_judged_by_how_far_its_answers_go_beyond_what_people_liked(
    database: Database, revision: str, settings: Settings, run: Run
) -> None:
    def like(session: Session) -> None:
        add_siblings(session, 6, base_revision=revision)
        for i in range(20):
            vote(session, add_reply(session, prompt=str(i), answer="Yes, of course."), BOB, Vote.UP)

    def compare_styles(*asked: Any) -> Evaluation:
        context: ServedContext = asked[3]
        return replace(JUDGEMENT, overshoot=context.overshoot(["Yes, of course."] * 9, ["No."] * 9))

    seed(database, like)
    ended = run(settings, evaluate=compare_styles)
    assert ended.status is RoundStatus.PUBLISHED
    assert ended.metrics["overshoot"]["liked"] == 26
    (check,) = (check for check in ended.gate["checks"] if check["name"] == "overshoot")
    assert "too few" not in check["sentence"]


# What goes wrong


def diverge(_job: TrainingJob, _report: ReportProgress) -> NoReturn:
    raise TrainingDiverged(2)


def test_a_round_that_breaks_says_so_in_a_sentence(
    database: Database, revision: str, settings: Settings, run: Run
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    ended = run(tiny_settings(settings.data.directory, settings.data.directory / "nowhere"))
    assert ended.status is RoundStatus.FAILED
    assert "model.base" in ended.reason
    ended = run(train=diverge)
    assert (ended.status, ended.reason) == (RoundStatus.FAILED, str(TrainingDiverged(2)))
    assert published_folders(settings) == []


def run_out_of_memory(_job: TrainingJob, _report: ReportProgress) -> NoReturn:
    raise MemoryError


def test_a_round_in_which_memory_runs_out_publishes_nothing_and_the_next_one_computes_less_at_once(
    database: Database, revision: str, run: Run
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    failed = run(train=run_out_of_memory)
    assert (failed.status, failed.reason) == (RoundStatus.FAILED, MEMORY_RAN_OUT)
    assert versions(database) == []
    ended = run()
    assert ended.reason.startswith(
        "v1 learned from 2 pairs (fewer at once, because memory ran out in an earlier round)"
    )
    assert ended.metrics["memory"]["failures"] == 1
    assert ended.metrics["memory"]["plan"]["checkpointing"]


def test_a_round_that_does_not_fit_is_refused_before_a_model_is_loaded(
    database: Database, revision: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    monkeypatch.setattr("trainer.rounds.readiness.memory_for_training", lambda: FreeMemory(10**8, 10**9))
    ended = run()
    assert ended.status is RoundStatus.FAILED
    assert re.fullmatch(
        r"a round needs about \d\.\d GB of memory, 100 MB free: stop other programs, train on a larger machine or "
        r"choose a smaller model\.base",
        ended.reason,
    )
    assert ended.progress["phase"] == Phase.GATHERING


def damage(settings: Settings, version: Version) -> None:
    weights = settings.data.directory / "adapters" / version.digest / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def test_a_damaged_starter_stops_the_round(database: Database, revision: str, settings: Settings, run: Run) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    made = look(database, run().id)
    [version] = versions(database)
    of_examples = {"learns_from": TrainingSource.EXAMPLES}
    seed(database, lambda session: session.execute(update(RoundRow).where(RoundRow.id == made.id).values(of_examples)))
    crown(database, version)
    damage(settings, version)
    ended = run()
    assert ended.status is RoundStatus.FAILED
    assert "truncated or altered" in ended.reason
    assert len(versions(database)) == 1


def test_a_host_without_cards_takes_them_from_the_database(
    database: Database, revision: str, settings: Settings, run: Run
) -> None:
    def prepare(session: Session) -> None:
        add_siblings(session, 2, base_revision=revision)
        create_personality(session, "pirate", Card(system_prompt="Arr."), by="grace")

    seed(database, prepare)
    elsewhere = settings.personalities.model_copy(update={"directory": settings.data.directory / "nowhere"})
    assert run(settings.model_copy(update={"personalities": elsewhere})).status is RoundStatus.PUBLISHED
    with database.snapshot() as session:
        known = list_personalities(session, archived=None)
    assert [(who.name, who.card.system_prompt, who.archived_at) for who in known] == [
        ("default", "", None),
        ("pirate", "Arr.", None),
    ]


def test_a_host_with_other_cards_leaves_those_of_the_database(
    database: Database, settings: Settings, run: Run, tmp_path: Path
) -> None:
    def settings_with(prompt: str) -> Settings:
        folder = tmp_path / prompt
        folder.mkdir()
        (folder / "pirate.toml").write_text(f"system_prompt = {prompt!r}")
        return settings.model_copy(update={"personalities": PersonalitySettings(directory=folder)})

    seed(database, lambda session: load_cards(session, settings_with("Arr.")))
    run(settings_with("Ahoy."))
    with database.snapshot() as session:
        assert personality_named(session, "pirate").card.system_prompt == "Arr."


def test_a_round_on_weights_that_are_quantised_already_says_what_to_do(
    database: Database, settings: Settings, run: Run, tmp_path: Path
) -> None:
    folder = build_tiny_base(tmp_path / "tiny-awq")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "awq"}}))
    ended = run(tiny_settings(settings.data.directory, folder))
    assert ended.status is RoundStatus.FAILED
    assert "tiny-awq are quantised already (awq)" in ended.reason
    assert ended.reason.endswith("set model.base to the model that they were made from")


def test_a_trainer_with_another_base_than_the_bots_says_so(database: Database, run: Run) -> None:
    other = ConfiguredBase(setting="other/base", name="other", revision="f" * 16)
    seed(database, lambda session: record_base(session, other, "the bot"))
    ended = run()
    assert ended.status is RoundStatus.SKIPPED
    assert ended.reason.startswith(f"other ({'f' * 16}) answers, but this trainer has tiny (")
    assert ended.reason.endswith("set model.base on the trainer's host to the bot's")


def test_a_round_ended_by_somebody_else_publishes_nothing(
    database: Database, revision: str, settings: Settings
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    round_ = start(database)
    seed(database, lambda session: finish_round(session, round_.id, RoundStatus.INTERRUPTED, "stopped"))
    run_round(settings, round_.id, train=train_quickly, evaluate=approve)
    assert look(database, round_.id).status is RoundStatus.INTERRUPTED
    assert versions(database) == []
    assert published_folders(settings) == []


def test_a_round_ended_while_it_trains_stops_and_publishes_nothing(
    database: Database, revision: str, settings: Settings
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    round_ = start(database)
    thread = threading.Thread(target=run_round, args=(settings, round_.id), kwargs={"train": train_endlessly})
    thread.start()
    while look(database, round_.id).progress.get("phase") != Phase.TRAINING:
        assert thread.is_alive()
        time.sleep(0.02)
    seed(database, lambda session: finish_round(session, round_.id, RoundStatus.INTERRUPTED, "stopped"))
    thread.join(timeout=300)
    assert not thread.is_alive()
    assert look(database, round_.id).reason == "stopped"
    assert published_folders(settings) == []


@pytest.mark.parametrize("in_time", [True, False], ids=["renewed", "ended by another trainer"])
def test_a_round_whose_lease_ran_out_publishes_only_once_it_is_renewed(
    database: Database, revision: str, settings: Settings, in_time: bool
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    round_ = start(database)
    with database.transaction() as session:
        session.get_one(RoundRow, round_.id).lease_until = utc_now() - timedelta(seconds=1)
    quickly = {"train": train_quickly, "evaluate": approve}
    thread = threading.Thread(target=run_round, args=(settings, round_.id), kwargs=quickly)
    thread.start()
    while look(database, round_.id).progress.get("phase") != Phase.PUBLISHING:
        assert thread.is_alive()
        time.sleep(0.02)
    time.sleep(0.3)  # it has tried to end the round, and waits
    assert look(database, round_.id).is_open
    assert versions(database) == []
    seed(database, lambda session: renew_lease(session, round_.id) if in_time else interrupt_rounds(session, "other"))
    thread.join(timeout=300)
    assert look(database, round_.id).status is (RoundStatus.PUBLISHED if in_time else RoundStatus.INTERRUPTED)
    assert len(versions(database)) == in_time


def test_progress_is_written_by_phase_and_about_once_a_second(database: Database) -> None:
    round_ = start(database)
    report = ProgressLog(database, round_.id)
    report(RoundProgress(Phase.TRAINING, step=1, steps=9, loss=0.7))
    report(RoundProgress(Phase.TRAINING, step=2, steps=9, loss=0.6))
    written = look(database, round_.id).progress
    assert {"phase": "training", "step": 1, "steps": 9, "loss": 0.7}.items() <= written.items()
    assert (written["stage"], written["stages"], written["doing"]) == (3, 5, "Training the new version")
    assert 0 <= written["share"] < 1
    report(RoundProgress(Phase.WAITING))
    waiting = look(database, round_.id).progress
    assert (waiting["stage"], waiting["doing"]) == (3, "Waiting until the bot leaves the GPU")
    report(RoundProgress(Phase.COHERENCE))
    assert look(database, round_.id).progress["phase"] == Phase.COHERENCE


def test_a_round_on_a_cards_examples_draws_no_answers_and_has_one_step_less(database: Database) -> None:
    round_ = start(database, learns_from=TrainingSource.EXAMPLES)
    ProgressLog(database, round_.id)(RoundProgress(Phase.TRAINING, step=1, steps=9))
    written = look(database, round_.id).progress
    assert (written["stage"], written["stages"]) == (2, 4)
