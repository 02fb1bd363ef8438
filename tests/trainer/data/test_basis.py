"""Nothing that training reads holds the words of a row without a basis, or anybody's id."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import fields, is_dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import inspect as columns_of
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.database.enums import Basis, GateVerdict, Origin, RoundStatus, TrainingSource
from storage.database.tables import CorrectionRow, ReplyRow, RoundPairRow, RoundRow
from storage.members import note_members
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent, read_agreement, withdraw_consent
from storage.releases.contests import contest_between
from storage.releases.versions import NewVersion, register
from storage.runtime.processes import GpuUse
from storage.settings.sections import Settings
from storage.taste.learning import learn_taste
from storage.taste.opinions import read_taste_opinions
from storage.training.rounds import Round, require_round
from storage.training.samples import AskedPrompt, DrawnSample, LocalPair
from storage.training.trainable import TrainingScope
from storage.votes.corrections import withdraw
from storage.votes.votes import Vote
from storage.votes.weights import read_weighted_votes
from tests.past import quarantine
from tests.seeding import account, add_correction, add_reply, add_siblings, pseudonyms_of, tiny_settings, vote
from tests.trainer.contexts import begin_round, learner_of
from trainer.data.plan import make_plan
from trainer.data.prepare import write_plan
from trainer.data.survey import survey_votes
from trainer.exchange import export_file

TRAINER = Path(__file__).parents[3] / "trainer"
GUILD = 55_555_555
CANARY = "canary"
"""Marks text that must not be trained on."""
ALLOWED = "allowed"
"""Marks text that may be trained on."""
MEMBERS = [account(days_old=400 + number) for number in range(6)]
ANN, BEN, CAT, DAN, EVE, FAY = MEMBERS


def imported_from_storage() -> dict[str, Callable[..., Any]]:
    """Return every function that reads or writes the database and that a module of the trainer imports, by name."""
    found = {}
    for path in TRAINER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("storage."):
                module = importlib.import_module(node.module or "")
                found |= {name.name: getattr(module, name.name) for name in node.names}
    return {name: value for name, value in found.items() if inspect.isfunction(value) and asks_database(value)}


def asks_database(function: Callable[..., Any]) -> bool:
    return next(iter(inspect.signature(function).parameters), "") in ("session", "database")


@pytest.fixture
def permitted(tmp_path: Path, tiny_base: BaseModel, migrated_file: Path) -> Settings:
    shutil.copyfile(migrated_file, tmp_path / "reactune.db")
    return tiny_settings(tmp_path, tiny_base.path, discord_training_permission=True)


@pytest.fixture
def database(permitted: Settings) -> Iterator[Database]:
    with closing(open_database(permitted)) as database:
        yield database


@pytest.fixture
def personality(database: Database, tiny_base: BaseModel) -> int:
    with database.transaction() as session:
        plant(session, tiny_base)
        return ensure_personality(session)


def plant(session: Session, base: BaseModel) -> None:
    """Write rows of every kind that may not be trained on, with votes and corrections, and some that may."""
    note_members(session, GUILD, dict.fromkeys(MEMBERS, utc_now().replace(year=2020)))
    for member in (ANN, BEN, CAT):
        give_consent(session, member)
    live: dict[str, Any] = {"basis": Basis.LIVE_CHAT, "speakers": (ANN,), "guild_id": GUILD}
    closed: list[dict[str, Any]] = [
        {"basis": None},
        {"basis": None, "guild_id": GUILD},
        live | {"speakers": (ANN, DAN)},  # Dan never agreed
        live | {"speakers": (CAT,)},  # Cat agrees no more
        live | {"speakers": ()},
    ]
    for number, row in enumerate(closed):
        add_prompt(session, base, f"<|user|>{CANARY} {number}<|bot|>", CANARY, correction_of=EVE, **row)
    add_prompt(session, base, f"<|user|>{ALLOWED} <@{FAY}><|bot|>", ALLOWED, correction_of=BEN, **live)
    first = add_prompt(session, base, f"<|user|>{ALLOWED} bank<|bot|>", ALLOWED, basis=Basis.PROMPT_BANK, speakers=())
    add_correction(session, first, f"{CANARY} without a basis", author_id=ANN, basis=None)
    add_correction(session, first, f"{CANARY} of Dan, who never agreed", author_id=DAN, basis=Basis.LIVE_CHAT)
    add_correction(session, first, f"{CANARY} of Cat, who agrees no more", author_id=CAT, basis=Basis.LIVE_CHAT)
    withdrawn = add_correction(session, first, f"{CANARY} withdrawn", author_id=EVE)
    withdraw(session, withdrawn, EVE)
    withdraw_consent(session, CAT)
    add_siblings(session, 4, base_revision=base.revision)
    quarantine(session, 0, [(first, FAY)])


def add_prompt(
    session: Session, base: BaseModel, prompt: str, word: str, *, correction_of: int | None = None, **row: Any
) -> int:
    """Add a liked and a disliked answer, one that a round drew and one without words, and return the first one's id."""
    common = {"prompt": prompt, "base_revision": base.revision} | row
    liked, disliked = (add_reply(session, answer=f"{word} answer {n}", **common) for n in (1, 2))
    add_reply(session, answer=f"{word} sample", origin=Origin.SAMPLE, **common)
    add_reply(session, answer="", origin=Origin.SAMPLE, **common)
    for reply, value in ((liked, Vote.UP), (disliked, Vote.DOWN)):
        for member in MEMBERS:
            vote(session, reply, member, value)
    if correction_of is not None:
        add_correction(session, disliked, f"{word} better", author_id=correction_of, basis=row.get("basis"))
    return liked


def calls(
    session: Session, database: Database, settings: Settings, base: BaseModel, round_: Round
) -> Mapping[str, tuple[Any, ...]]:
    """Return how to call each of the functions, in an order that works; after the session itself come its arguments."""
    id_ = round_.personality_id
    scope = TrainingScope(id_, settings.privacy, base.revision)
    version = register(
        session,
        id_,
        NewVersion(digest="a" * 64, base_name="tiny", base_revision="b", parent_id=None, round_id=None, metrics={}),
    )
    drawn = [DrawnSample(AskedPrompt("", "", reply_id), "drawn", is_cut=False) for reply_id in (1, 21)]
    digests = session.scalars(select(ReplyRow.prompt_digest)).all()
    return {
        "ensure_personality": (),
        "open_personality": (settings, "default"),
        "list_personalities": (),
        "read_personality": (id_,),
        "lock_personality": (id_,),
        "starting_point": (id_,),
        "read_alias": (id_,),
        "all_digests": (),
        "read_agreement": (id_,),
        "read_weighted_votes": (id_, settings.votes),
        "read_replies": (scope, read_weighted_votes(session, id_, settings.votes).by_reply),
        "read_corrections": (scope, settings.votes),
        "read_answers_to": (scope, digests),
        "read_texts": (
            scope,
            {"render": str, "replies": session.scalars(select(ReplyRow.id)).all()}
            | {"corrections": session.scalars(select(CorrectionRow.id)).all()},
        ),
        "learn_all": (id_, settings),
        "known_by": (id_, settings, learn_taste(session, id_, settings)),
        "kept_order": (id_, base.revision, learn_taste(session, id_, settings), settings.generation),
        "unmeasured_exchanges": (scope, digests),
        "store_relevance": ({1: 0.5},),
        "read_relevance": ([1, 2],),
        "read_measures": (set(session.scalars(select(ReplyRow.id))),),
        "newest_prompts": (scope, 99, {"render": str}),
        "newest_exchanges": (scope, session.scalars(select(ReplyRow.id)).all(), {"limit": 99}),
        "read_prompts": (id_,),
        "count_answers": (id_, base.revision, None, digests),
        "read_taste_opinions": (id_, settings),
        "learn_taste": (id_, settings),
        "read_liked_style": (read_taste_opinions(session, id_, settings),),
        "has_closed_replies": (id_, settings.privacy),
        "read_contest": (id_, settings.votes),
        "chosen_among": (id_,),
        "judging_answers": (contest_between(session, version, None, settings.votes),),
        "find_round": (round_.id,),
        "last_trained": (id_,),
        "last_alike": (round_,),
        "memory_failures": (id_,),
        "record_samples": (
            drawn,
            {"personality_id": id_, "base_revision": base.revision, "version_id": None, "sampling": {}, "seed": 1},
        ),
        "add_local_pair": (id_, base.revision, LocalPair("<|user|>x<|bot|>", "good", "bad")),
        "require_round": (round_.id,),
        "report_progress": (round_.id, {}),
        "set_manifest": (round_.id, [], {"parent_version_id": None, "settings": {}}),
        "register": (id_, NewVersion("c" * 64, "t", "b", None, round_.id, metrics={}, verdict=GateVerdict.PASS)),
        "release_passed": (id_, version, settings.release),
        "renew_lease": (round_.id,),
        "take_gpus": (GpuUse.ROUND, ["0123456789ab"], "worker"),
        "renew_gpus": (GpuUse.ROUND, "worker"),
        "users_of_gpu": (GpuUse.ROUND, "0123456789ab"),
        "leave_gpus": (GpuUse.ROUND, "worker"),
        "require_lease": (round_.id,),
        "finish_round": (round_.id, RoundStatus.FAILED, "the test ends here"),
        "request_round": (id_, "schedule", TrainingSource.VOTES),
        "claim_round": ("here",),
        "interrupt_rounds": ("here",),
        "record_heartbeat": ("trainer", "here"),
        "last_heartbeat": ("trainer", "here"),
        "live_processes": ("trainer",),
        "read_numbers": (),
        "aliased_digests": (),
        "base_in_use": (),
        "names_deleted": ([],),
        "begin_schedule": ("rounds", None),
        "take_due": ("rounds", CronTrigger.from_crontab("0 4 * * *", UTC)),
    }


WITH_KEYWORDS = ("read_texts", "newest_prompts", "newest_exchanges", "record_samples", "set_manifest")


def run_calls(database: Database, settings: Settings, base: BaseModel, round_: Round) -> dict[str, Any]:
    functions, returned = imported_from_storage(), {}
    with database.transaction() as session:
        table = calls(session, database, settings, base, round_)
        for name, arguments in table.items():
            keywords = arguments[-1] if name in WITH_KEYWORDS else {}
            returned[name] = functions[name](session, *arguments[: len(arguments) - bool(keywords)], **keywords)
    return returned


def leaves(value: Any) -> Iterator[Any]:
    """Yield everything in it that is no container, private attributes included."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(key)
            yield from leaves(part)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            yield from leaves(part)
    elif hasattr(value, "model_dump"):
        yield from leaves(value.model_dump())
    else:
        yield value


def texts_and_ids(value: Any) -> tuple[str, set[int]]:
    found = list(leaves(value))
    return "\n".join(map(str, found)), {leaf for leaf in found if isinstance(leaf, int)}


def require_nobody(value: Any) -> str:
    """Return all texts in it, after making sure that no member's id is in there as a number or in a text."""
    said, ids = texts_and_ids(value)
    assert ids.isdisjoint(MEMBERS)
    for member in MEMBERS:
        assert str(member) not in said
    return said


def start(database: Database, personality: int) -> Round:
    with database.transaction() as session:
        return begin_round(session, personality, "schedule")


def test_every_database_function_of_the_trainer_gives_only_what_has_a_basis_and_names_nobody(
    database: Database, permitted: Settings, tiny_base: BaseModel, personality: int
) -> None:
    returned = run_calls(database, permitted, tiny_base, start(database, personality))
    # These take a database of their own, and return versions, or nothing.
    others = {"quarantine_bursts", "remove_withdrawn", "withdraw_adapters"}
    assert set(returned) | others >= set(imported_from_storage()), "tell `calls` how to call what is new"
    said = require_nobody(returned)
    assert CANARY not in said
    assert said.count(f"{ALLOWED} better") == 1
    assert f"<|user|>{ALLOWED} @somebody<|bot|>" in said


def test_a_closed_basis_closes_what_was_open(
    database: Database, permitted: Settings, tiny_base: BaseModel, personality: int
) -> None:
    closed = permitted.model_copy(update={"privacy": type(permitted.privacy)()})
    with database.snapshot() as session:
        survey = survey_votes(session, learner_of(closed, tiny_base, personality))
        plan = make_plan(survey, closed, lambda _pair: True)
    said = require_nobody((survey.feedback, plan))
    assert CANARY not in said
    assert f"{ALLOWED} bank" in said
    assert f"{ALLOWED} @somebody" not in said


def test_a_round_and_its_manifest_name_nobody(
    database: Database, permitted: Settings, tiny_base: BaseModel, personality: int
) -> None:
    round_ = start(database, personality)
    with database.transaction() as session:
        agreed = read_agreement(session, personality)
        survey = survey_votes(session, learner_of(permitted, tiny_base, personality))
        plan = make_plan(survey, permitted, lambda _pair: True)
        assert write_plan(session, round_, plan, {}, agreed)
        pseudonyms = pseudonyms_of(session, *MEMBERS)
    assert CANARY not in require_nobody((survey.feedback, plan, agreed))
    assert set(pseudonyms) & {voter.pseudonym for voter in plan.voters}
    with database.snapshot() as session:
        rows = [require_round(session, round_.id), *map(columns, session.scalars(select(RoundPairRow)))]
        rows += map(columns, session.scalars(select(RoundRow)))
    require_nobody(rows)


def columns(row: Any) -> dict[str, Any]:
    return {attribute.key: getattr(row, attribute.key) for attribute in columns_of(type(row)).column_attrs}


def test_exported_pairs_have_a_basis_and_no_ids(
    database: Database, permitted: Settings, personality: int, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    assert export_file(permitted, file).pairs == 8  # 6 of siblings; a correction of an answer and of a sample
    pairs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    said = require_nobody(pairs)
    assert CANARY not in said
    assert f"{ALLOWED} better" in said
    assert {key for pair in pairs for key in pair} == {"prompt", "chosen", "rejected", "source", "weight"}


def test_the_trainer_selects_nothing_itself() -> None:
    """What it reads comes through storage, which asks `storage.trainable` what it may hand out."""
    for path in TRAINER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = {name.name for name in node.names}
                tables = (
                    {name for name in names if name.endswith("Row")}
                    if node.module == "storage.database.tables"
                    else set()
                )
                assert not tables, f"{path} imports a table"
                assert node.module != "sqlalchemy", f"{path} imports {names}"
            elif isinstance(node, ast.Import):
                assert not {name.name for name in node.names if name.name.split(".")[0] == "sqlalchemy"}, path
            elif isinstance(node, ast.Attribute):
                assert node.attr not in ("execute", "scalars", "scalar"), f"{path}:{node.lineno} asks the database"


def test_training_data_is_selected_in_one_place() -> None:
    """No query of the feedback reads text from the tables: all of it comes from `storage.training.trainable`."""
    feedback = ast.parse((TRAINER.parent / "storage" / "training" / "feedback.py").read_text(encoding="utf-8"))
    words = {"prompt", "answer", "messages", "text"}
    for node in ast.walk(feedback):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id.endswith("Row"):
            assert node.attr not in words, (
                f"storage/training/feedback.py:{node.lineno} reads text past storage.training.trainable"
            )
