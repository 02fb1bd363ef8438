from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from storage.adapters import AdapterStore
from storage.base_model import resolve_base_model
from storage.corrections import withdraw
from storage.database import Database, open_database
from storage.personalities import ensure_personality
from storage.privacy import delete_member, give_consent, withdraw_consent
from storage.rounds import Round, claim_round, find_round, finish_round, read_manifest, request_round
from storage.schema import Basis, PairSource, ReplyRow, RoundStatus, Split
from storage.settings import Settings
from storage.versions import Version, list_versions, promote, read_alias
from storage.votes import Vote
from tests.seeding import ALICE, BOB, CAROL, add_correction, add_reply, add_siblings, tiny_settings, vote
from tests.tiny_model import build_tiny_base
from trainer.dpo import Progress
from trainer.errors import TrainingDiverged
from trainer.rounds import ProgressLog, run_round

WORKER = "here"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def revision(base: Path, tmp_path: Path) -> str:
    return resolve_base_model(str(base), tmp_path).revision


@pytest.fixture
def settings(tmp_path: Path, base: Path) -> Settings:
    return tiny_settings(tmp_path, base)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings)
    yield database
    database.close()


@pytest.fixture
def run(database: Database, settings: Settings) -> Callable[..., Round]:
    """Ask for a round, run it in this process, and return how it ended."""

    def run(settings: Settings = settings, requested_by: str = "admin") -> Round:
        round_ = start(database, requested_by)
        run_round(settings, round_.id)
        return look(database, round_.id)

    return run


def start(database: Database, requested_by: str = "admin") -> Round:
    with database.transaction() as session:
        request_round(session, ensure_personality(session), requested_by)
        round_ = claim_round(session, WORKER)
    assert round_ is not None
    return round_


def look(database: Database, round_id: int) -> Round:
    with database.transaction() as session:
        round_ = find_round(session, round_id)
    assert round_ is not None
    return round_


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
    database: Database, revision: str, settings: Settings, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 6, base_revision=revision))
    ended = run()
    assert (ended.status, ended.reason) == (
        RoundStatus.PUBLISHED,
        "v1 learned from 5 pairs (1 held out) and passed the gate: promote it to let it answer",
    )
    [version] = versions(database)
    assert (version.name, version.parent_id, version.round_id) == ("v1", None, ended.id)
    assert version.metrics == ended.metrics
    assert version.metrics["pairs"] == 5
    assert version.metrics["holdout_pairs"] == 1
    assert AdapterStore(settings.data.directory / "adapters").path(version.digest).is_dir()
    assert published_folders(settings) == [version.digest]
    with database.transaction() as session:
        manifest = read_manifest(session, ended.id)
        assert read_alias(session, ended.personality_id).version is None, "only an admin promotes"
    assert [line.split for line in manifest] == [Split.TRAIN] * 5 + [Split.HOLDOUT]
    assert {line.source for line in manifest} == {PairSource.SIBLINGS}


def test_the_next_round_goes_on_from_the_champion(database: Database, revision: str, run: Callable[..., Round]) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    run()
    [first] = versions(database)
    seed(
        database,
        lambda session: promote(
            session, first.personality_id, first, expected_generation=0, by="admin", reason="it is nicer"
        ),
    )
    ended = run()
    second = versions(database)[0]
    assert ended.parent_version_id == first.id
    assert (second.name, second.parent_id) == ("v2", first.id)
    assert second.digest != first.digest


def test_the_same_pairs_and_settings_give_the_same_adapter(
    database: Database, revision: str, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    first, second = run(), run()
    assert first.manifest_digest == second.manifest_digest
    newer, older = versions(database)
    assert newer.digest == older.digest


def test_too_few_pairs_are_skipped_with_the_number_needed(
    database: Database, revision: str, settings: Settings, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 1, base_revision=revision))
    ended = run()
    assert ended.status is RoundStatus.SKIPPED
    assert ended.reason.startswith("1 pair, 2 needed: suggest better answers")
    assert "live chat does not count" in ended.reason
    assert versions(database) == []
    assert published_folders(settings) == []


def test_a_version_that_fails_the_gate_is_not_published(
    database: Database, revision: str, settings: Settings, base: Path, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 4, base_revision=revision))
    ended = run(tiny_settings(settings.data.directory, base, max_divergence=1e-12, learning_rate=0.01))
    assert ended.status is RoundStatus.REJECTED
    assert ended.reason.startswith("answers moved")
    assert ended.metrics["divergence"] > 1e-12
    assert versions(database) == []
    assert published_folders(settings) == []


def test_a_round_that_breaks_says_so_in_a_sentence(
    database: Database, revision: str, settings: Settings, base: Path, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    ended = run(tiny_settings(settings.data.directory, settings.data.directory / "nowhere"))
    assert ended.status is RoundStatus.FAILED
    assert "model.base" in ended.reason
    ended = run(tiny_settings(settings.data.directory, base, learning_rate=1e30, epochs=9.0))
    assert (ended.status, ended.reason[:30]) == (RoundStatus.FAILED, str(TrainingDiverged(2))[:30])
    assert published_folders(settings) == []


def test_a_champion_whose_files_are_damaged_stops_the_round(
    database: Database, revision: str, settings: Settings, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    run()
    [version] = versions(database)
    seed(
        database,
        lambda session: promote(session, version.personality_id, version, expected_generation=0, by="a", reason="b"),
    )
    weights = settings.data.directory / "adapters" / version.digest / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    ended = run()
    assert ended.status is RoundStatus.FAILED
    assert "truncated or altered" in ended.reason
    assert len(versions(database)) == 1


def test_a_round_ended_by_somebody_else_publishes_nothing(
    database: Database, revision: str, settings: Settings
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    round_ = start(database)
    seed(database, lambda session: finish_round(session, round_.id, RoundStatus.INTERRUPTED, "stopped"))
    run_round(settings, round_.id)
    assert look(database, round_.id).status is RoundStatus.INTERRUPTED
    assert versions(database) == []
    assert published_folders(settings) == []


def test_a_round_ended_while_it_trains_stops_and_publishes_nothing(
    database: Database, revision: str, settings: Settings, base: Path
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    round_ = start(database)
    endless = tiny_settings(settings.data.directory, base, epochs=100_000.0)
    thread = threading.Thread(target=run_round, args=(endless, round_.id))
    thread.start()
    while look(database, round_.id).progress.get("phase") != "training":
        assert thread.is_alive()
        time.sleep(0.02)
    seed(database, lambda session: finish_round(session, round_.id, RoundStatus.INTERRUPTED, "stopped"))
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert look(database, round_.id).reason == "stopped"
    assert published_folders(settings) == []


def test_a_version_whose_round_was_ended_at_the_last_moment_gets_no_row(
    database: Database, revision: str, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    end_it = "CREATE TRIGGER late AFTER INSERT ON versions BEGIN UPDATE rounds SET status = 'interrupted'; END"
    seed(database, lambda session: session.execute(text(end_it)))
    run()
    assert versions(database) == []


def test_answers_without_a_basis_are_never_trained_on(
    database: Database, revision: str, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 3, base_revision=revision))
    with database.transaction() as session:
        for row in session.scalars(select(ReplyRow)):
            row.basis = None
    assert run().reason.startswith("0 pairs")


def test_live_chat_is_trained_on_only_with_permission_and_consent(
    database: Database, revision: str, settings: Settings, base: Path, run: Callable[..., Round]
) -> None:
    def chat(session: Session) -> None:
        for i in range(2):
            prompt = f"<|user|>a private joke {i}<|bot|>"
            for answer, value in (("ha", Vote.UP), ("no", Vote.DOWN)):
                reply = add_reply(
                    session,
                    prompt=prompt,
                    answer=answer,
                    basis=Basis.LIVE_CHAT,
                    speakers=(ALICE, BOB),
                    base_revision=revision,
                )
                vote(session, reply, CAROL, value)

    seed(database, chat)
    seed(database, lambda session: give_consent(session, ALICE))
    seed(database, lambda session: give_consent(session, BOB))
    permitted = tiny_settings(settings.data.directory, base, discord_training_permission=True)
    assert run().reason.startswith("0 pairs")
    assert run(permitted).status is RoundStatus.PUBLISHED
    seed(database, lambda session: withdraw_consent(session, BOB))
    assert run(permitted).reason.startswith("0 pairs")


def test_a_withdrawn_correction_is_not_trained_on(database: Database, revision: str, run: Callable[..., Round]) -> None:
    ids: list[int] = []

    def suggest_three(session: Session) -> None:
        for i in range(3):
            reply = add_reply(session, prompt=f"<|user|>question {i}<|bot|>", answer="wrong", base_revision=revision)
            ids.append(add_correction(session, reply, f"right {i}"))

    seed(database, suggest_three)
    seed(database, lambda session: withdraw(session, ids[0], BOB))
    ended = run()
    with database.transaction() as session:
        manifest = read_manifest(session, ended.id)
    assert ended.status is RoundStatus.PUBLISHED
    assert {line.correction_id for line in manifest} == set(ids[1:])


def test_a_version_that_learned_from_deleted_data_is_marked(
    database: Database, revision: str, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    run()
    seed(database, lambda session: delete_member(session, BOB))
    assert [version.trained_on_deleted_data for version in versions(database)] == [True]
    assert run().reason.startswith("0 pairs")


def test_a_scheduled_round_without_anything_new_is_skipped(
    database: Database, revision: str, settings: Settings, base: Path, run: Callable[..., Round]
) -> None:
    seed(database, lambda session: add_siblings(session, 2, base_revision=revision))
    first = run(requested_by="schedule")
    assert first.status is RoundStatus.PUBLISHED
    again = run(requested_by="schedule")
    assert (again.status, again.reason) == (
        RoundStatus.SKIPPED,
        f"no new votes or corrections since round {first.id}, which trained on the same pairs",
    )
    other = tiny_settings(settings.data.directory, base, beta=0.5)
    assert run(other, requested_by="schedule").status is RoundStatus.PUBLISHED
    assert run(requested_by="admin").status is RoundStatus.PUBLISHED


def test_progress_is_written_by_phase_and_about_once_a_second(database: Database) -> None:
    round_ = start(database)
    report = ProgressLog(database, round_.id)
    report(Progress("training", step=1, steps=9, loss=0.7, seconds_left=8.0))
    report(Progress("training", step=2, steps=9, loss=0.6, seconds_left=7.0))
    assert look(database, round_.id).progress == {
        "phase": "training",
        "step": 1,
        "steps": 9,
        "loss": 0.7,
        "seconds_left": 8.0,
    }
    report(Progress("judging"))
    assert look(database, round_.id).progress["phase"] == "judging"


def test_a_version_says_how_many_pairs_were_held_out_and_left_out(
    database: Database, revision: str, run: Callable[..., Round]
) -> None:
    def one_long_prompt(session: Session) -> None:
        add_siblings(session, 5, base_revision=revision)
        reply = add_reply(session, prompt="<|user|>" + "tell me a long story " * 40, base_revision=revision)
        add_correction(session, reply, "better")

    seed(database, one_long_prompt)
    ended = run()
    assert ended.metrics["pairs"] + ended.metrics["holdout_pairs"] == 5
    assert (
        "v1 learned from 4 pairs (1 held out, 1 left out as longer than training.max_tokens) and passed the gate"
        in ended.reason
    )


def test_answers_of_another_base_are_not_trained_on(database: Database, run: Callable[..., Round]) -> None:
    seed(database, lambda session: add_siblings(session, 6, base_revision="f" * 16))
    assert run().reason.startswith("0 pairs")
