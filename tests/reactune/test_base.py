"""`reactune base`: one command changes the base model, votes and taste outlive it, and one command goes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterStore
from storage.database.database import open_database
from storage.database.tables import AuditRow
from storage.errors import BaseModelError
from storage.models.base_model import BaseModel, resolve_base_model
from storage.personalities.personalities import ensure_personality
from storage.releases.base_change import CHANGE_BASE
from storage.releases.promotion import promote
from storage.releases.versions import NewVersion, list_versions, read_alias, register
from storage.runtime.processes import BOT, record_heartbeat
from storage.settings.editing import NEW_FILE
from storage.settings.loading import load_settings
from storage.votes.votes import Vote
from tests.families import build_family
from tests.few_questions import run_short_round
from tests.seeding import BOB, add_reply, vote
from tests.seeing_model import build_seeing_base
from tests.storage.adapters.test_folder_store import publish
from tests.tiny_model import build_tiny_base
from trainer.rounds import worker

CONFIG = """\
# My server.
[model]
engine = "transformers"   # no graphs
base = "{base}"   # the first one

[metrics]
port = 0

[console]
port = 0

[generation]
max_new_tokens = 8

[pairs]
ranked_prompts = 0

[training]
min_pairs = 2
dtype = "float32"
lora_rank = 4
epochs = 1
schedule = ""

[gate]
coherence_model = "base"
tolerance = {{ divergence = 100, retention = 1000, coherence = 1000, broken = 10 }}
"""

QUICK = {f"REACTUNE_TRAINING__{name}": "0" for name in ("MIN_STEPS", "NICENESS", "PATIENCE")}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bases whose templates have nothing in common."""
    folder = tmp_path_factory.mktemp("bases")
    return build_tiny_base(folder / "old"), build_family("llama3", folder / "new")


@pytest.fixture
def config(tmp_path: Path, folders: tuple[Path, Path], migrated_file: Path) -> Path:
    (tmp_path / "data").mkdir()
    shutil.copyfile(migrated_file, tmp_path / "data" / "reactune.db")
    file = tmp_path / "reactune.toml"
    file.write_text(CONFIG.format(base=folders[0]))
    return file


@pytest.fixture
def reactune(config: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `reactune …` in the folder of reactune.toml."""
    monkeypatch.setattr(worker, "_run_in_process", run_short_round)
    return lambda *words, typed="", **more: run_command(config.parent, *words, typed=typed, **(QUICK | more))


@pytest.fixture
def write(config: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Session], Any]], Any]:
    """Do something in the database of the commands."""

    def do(work: Callable[[Session], Any]) -> Any:
        with monkeypatch.context() as changed:
            changed.chdir(config.parent)
            database = open_database(load_settings(config, environment={}))
            try:
                return database.call(work)
            finally:
                database.close()

    return do


def bases(folders: tuple[Path, Path], config: Path) -> list[BaseModel]:
    return [resolve_base_model(str(folder), config.parent / "data") for folder in folders]


def add_votes(session: Session, base: BaseModel) -> None:
    for i in range(3):
        said = [{"role": "user", "content": f"question {i}"}]
        for answer, value in ((f"good answer {i}", Vote.UP), (f"bad reply {i}", Vote.DOWN)):
            prompt = f"<|im_start|>user\nquestion {i}<|im_end|>\n<|im_start|>assistant\n"
            reply = add_reply(session, prompt=prompt, messages=said, answer=answer, base_revision=base.revision)
            vote(session, reply, BOB, value)


def add_champion(session: Session, base: BaseModel, digest: str) -> None:
    id_ = ensure_personality(session)
    common: dict[str, Any] = {"parent_id": None, "round_id": None, "metrics": {}}
    version = register(
        session, id_, NewVersion(digest=digest, base_name=base.name, base_revision=base.revision, **common)
    )
    generation = read_alias(session, id_).generation
    promote(session, id_, version, expected_generation=generation, by="ann", reason="")


def champion(session: Session) -> str:
    return read_alias(session, ensure_personality(session)).target


def test_votes_teach_the_new_base_and_the_old_champion_comes_back(reactune, write, config, folders):
    before = config.read_bytes()
    old, new = bases(folders, config)
    assert reactune("base", "use", str(folders[0]), "--yes")[0] == 0
    digest = publish(AdapterStore(config.parent / "data" / "adapters"))
    write(lambda session: (add_votes(session, old), add_champion(session, old, digest)))

    code, out, err = reactune("base", "use", str(folders[1]), typed="y\n")
    assert code == 0, err
    assert "Licence: unknown" in err
    for sentence in (
        "new is the base model now",
        "default: base answers now (before: v1).",
        "1 version of old stays stored. It answers again after reactune base use",
        "6 votes count for the next round",
        "reactune base teach teaches the personalities on it",
    ):
        assert " ".join(sentence.split()) in " ".join(out.split())
    assert config.read_bytes() == before.replace(str(folders[0]).encode(), str(folders[1]).encode())
    assert write(champion) == "base"

    code, out, err = reactune("base", "teach", "--json")
    assert code == 0, err
    (taught,) = json.loads(out)["taught"]
    assert taught["round"]["reason"].startswith("v2 learned from 3 pairs")
    first, second = reversed(write(lambda session: list_versions(session, ensure_personality(session))))
    assert (first.base_revision, second.base_revision) == (old.revision, new.revision)
    assert reactune("export", "pairs.jsonl")[0] == 0
    prompts = [json.loads(line)["prompt"] for line in (config.parent / "pairs.jsonl").read_text().splitlines()]
    assert all("<|start_header_id|>user<|end_header_id|>" in prompt for prompt in prompts)
    assert sorted(f"question {i}" in prompt for i in range(3) for prompt in prompts).count(True) == 3

    shown = json.loads(reactune("base", "show", "--json")[1])
    assert [(one["use"]["name"], one["versions"], one["votes"]) for one in shown["used"]] == [
        ("new", 1, 0),
        ("old", 1, 6),
    ]
    code, out, _ = reactune("base", "back", "--yes", "--json")
    assert (code, json.loads(out)["moved"]) == (0, [{"personality": "default", "before": "base", "after": "v1"}])
    assert config.read_bytes() == before
    assert write(champion) == "v1"


def test_a_running_bot_keeps_its_base_and_champions(reactune, write, config, folders):
    old, _ = bases(folders, config)
    reactune("base", "use", str(folders[0]), "--yes")
    digest = publish(AdapterStore(config.parent / "data" / "adapters"))
    write(lambda session: (add_champion(session, old, digest), record_heartbeat(session, BOT, "here")))
    code, out, _ = reactune("base", "use", str(folders[1]), "--yes")
    assert code == 0
    assert "The running bot keeps the old one: start it again." in " ".join(out.split())
    assert write(champion) == "v1"
    code, _, err = reactune("base", "teach")
    assert (code != 0, "old still answers: start the bot again" in " ".join(err.split())) == (True, True)
    assert reactune("base", "back", "--yes")[0] == 0
    assert f'base = "{folders[0]}"' in config.read_text()


def test_a_config_file_that_somebody_edited_counts_and_stays_as_it_is(reactune, config, folders):
    shipped = config.rename(config.with_name("config.toml"))
    before = shipped.read_bytes()
    assert json.loads(reactune("base", "show", "--json")[1])["name"] == "old"
    assert reactune("base", "use", str(folders[1]), "--yes")[0] == 0
    assert (shipped.read_bytes(), config.read_text()) == (before, f'{NEW_FILE}model.base = "{folders[1]}"\n')
    assert json.loads(reactune("base", "show", "--json")[1])["name"] == "new"


def test_before_the_first_start_there_is_a_way_back_too(reactune, config, folders):
    before = config.read_bytes()
    assert reactune("base", "use", str(folders[1]), "--yes")[0] == 0
    code, _, err = reactune("base", "back", "--yes")
    assert (code, err.count("no other base")) == (0, 0)
    assert config.read_bytes() == before


def test_a_base_that_is_gone_leaves_its_history_and_the_way_back(reactune, config, folders, tmp_path):
    copied = shutil.copytree(folders[1], tmp_path / "copy of it")
    assert reactune("base", "use", str(copied), "--yes")[0] == 0
    shutil.rmtree(copied)
    code, out, _ = reactune("base", "show", "--json")
    shown = json.loads(out)
    assert (code, [one["use"]["setting"] for one in shown["used"]]) == (1, [str(copied), str(folders[0])])
    assert "is not a base model" in shown["problem"]
    code, out, _ = reactune("base", "show")
    assert f"base use '{copied}'".replace(" ", "") in "".join(out.split())
    assert f"{copied}, the base that is set (model.base), is not listed" in reactune("models")[1]
    assert reactune("base", "back", "--yes")[0] == 0
    assert f'base = "{folders[0]}"' in config.read_text()


def test_show_says_whether_the_base_sees(reactune, config, folders, tmp_path):
    assert json.loads(reactune("base", "show", "--json")[1])["sees"] is False
    seeing = build_seeing_base(tmp_path / "seeing")
    config.write_text(config.read_text().replace(str(folders[0]), str(seeing)))
    assert json.loads(reactune("base", "show", "--json")[1])["sees"] is True
    assert "describes pictures itself" in " ".join(reactune("base", "show")[1].split())


def test_a_question_that_nobody_answers_changes_nothing(reactune, config, folders):
    before = config.read_bytes()
    code, _, err = reactune("base", "use", str(folders[1]))
    assert (code, "add --yes" in " ".join(err.split())) == (1, True)
    assert config.read_bytes() == before


def use_bundled(config: Path, folders: tuple[Path, Path]) -> None:
    config.write_text(config.read_text().replace(str(folders[0]), "bundled"))


@pytest.mark.bundled
def test_a_bundled_base_that_was_never_used_is_recorded_without_converting_it(reactune, config, folders):
    use_bundled(config, folders)
    code, out, err = reactune("base", "use", str(folders[1]), "--yes")
    assert (code, "Converting" in err, "reactune base back goes back" in " ".join(out.split())) == (0, False, True)
    assert not list((config.parent / "data" / "base").glob("SmolLM2*"))
    code, out, _ = reactune("base", "show")
    assert ("SmolLM2-135M-Instruct since" in out, "answered" in out) == (True, False)


def test_a_way_back_is_promised_only_if_the_base_before_is_known(reactune, config, folders, monkeypatch):
    def fail(_directory: Path) -> str:
        raise BaseModelError("it is not installed")

    monkeypatch.setattr("storage.models.base_model.bundled_revision", fail)
    use_bundled(config, folders)
    code, out, _ = reactune("base", "use", str(folders[1]), "--yes")
    assert (code, "reactune base back" in out) == (0, False)
    assert "reactune base use bundled goes back" in " ".join(out.split())


def test_a_base_that_was_never_downloaded_is_not_asked_for(reactune, config, folders, monkeypatch):
    monkeypatch.setattr("storage.models.base_offer.find_on_hub", lambda hub_id: pytest.fail(f"asked for {hub_id}"))
    config.write_text(config.read_text().replace(str(folders[0]), "ann/not-here"))
    code, out, _ = reactune("base", "use", str(folders[1]), "--yes")
    assert (code, "reactune base use ann/not-here goes back" in " ".join(out.split())) == (0, True)


def test_a_variable_that_overrides_the_file_is_named(reactune, write, config, folders):
    before = config.read_bytes()
    code, out, _ = reactune("base", "use", str(folders[1]), "--yes", REACTUNE_MODEL__BASE=str(folders[0]))
    assert code == 0
    assert "REACTUNE_MODEL__BASE in the environment overrides the settings file" in " ".join(out.split())
    assert f"REACTUNE_MODEL__BASE={folders[1]}" in out.replace("\n", "")
    assert CHANGE_BASE not in write(lambda session: list(session.scalars(select(AuditRow.action))))
    assert config.read_bytes() == before


def test_a_file_that_cannot_be_edited_is_noticed_before_the_question(reactune, config, folders, monkeypatch):
    monkeypatch.setattr("storage.settings.editing.tomlkit.dumps", lambda _: "not = what was meant")
    code, out, err = reactune("base", "use", str(folders[1]), typed="y\n")
    said = f'change model.base to "{folders[1]}" in {config} yourself'
    assert (code, out, said in " ".join(err.split()), "Looking" in err) == (2, "", True, False)


def test_what_is_refused_or_declined_changes_nothing(reactune, config, folders, tmp_path):
    config.write_text(config.read_text().replace("max_new_tokens = 8", "max_new_tokens = 20"))
    before = config.read_bytes()
    short = build_tiny_base(tmp_path / "short", 16)
    code, _, err = reactune("base", "use", str(folders[1]), typed="n\n")
    assert (code, "Nothing was changed." in err) == (1, True)
    for wrong, said in (
        ("nowhere", "'nowhere' is not a base model: give 'bundled', 'gemma3-270m', an existing folder, or a hub ID"),
        ("./nowhere", "'./nowhere' is not a base model"),
        ("", "'' is not a base model"),
        (str(tmp_path), "config.json is missing"),
        (str(short), "16 tokens leaves no room for a prompt with generation.max_new_tokens = 20: choose a base with a"),
    ):
        code, out, err = reactune("base", "use", wrong, "--yes")
        assert (code, out, said in " ".join(err.split())) == (1 if "missing" in said else 2, "", True), err
    code, _, err = reactune("base", "back", "--yes")
    assert (code, "no other base model answered before" in " ".join(err.split())) == (2, True)
    assert config.read_bytes() == before
