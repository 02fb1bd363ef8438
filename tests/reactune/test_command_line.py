"""The command line: exit codes, one JSON object for scripts, one sentence for people."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from sqlalchemy import update

from bot.demo.community import TASTES
from bot.demo.folder import claim_folder
from bot.releases.comparison import NO_ANSWER, Comparison
from reactune.demo import sole_demo
from reactune.run import supervised_trainer
from storage.adapters.folder_store import AdapterStore
from storage.database.columns import utc_now
from storage.database.database import open_database
from storage.database.enums import GateVerdict, TrainingSource
from storage.database.tables import ReplyRow, RoundRow, VersionRow
from storage.models.base_model import resolve_base_model
from storage.personalities.card_files import read_any_card
from storage.personalities.personalities import ensure_personality
from storage.releases.promotion import promote
from storage.releases.versions import NewVersion, register
from storage.runtime.processes import BOT, TRAINER, record_heartbeat, sole_process, sole_token, worker_name
from storage.runtime.shell import as_called
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from storage.training.feedback import PairMaterial, look_ahead
from storage.training.rounds import request_round
from storage.votes.comparisons import Better, compare
from storage.votes.votes import Vote
from tests.few_questions import run_short_round
from tests.past import add_round, add_version, pair
from tests.seeding import (
    ALICE,
    BOB,
    TOLERANT,
    account,
    add_correction,
    add_reply,
    add_siblings,
    add_taste,
    ask_twice,
    compared_metrics,
    vote,
)
from tests.storage.adapters.test_folder_store import publish
from tests.storage.personalities.test_appearance import portrait
from tests.storage.personalities.test_tavern import card_of, picture_of
from tests.tiny_model import build_tiny_base
from trainer.rounds import worker

HANG_S = 20.0
"""After which a test is given up."""
LATER = 10_000
"""A day after every vote that a test gives."""


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def variables(tmp_path: Path, tiny_base: Path, migrated_file: Path) -> dict[str, str]:
    (tmp_path / "data").mkdir()
    shutil.copyfile(migrated_file, tmp_path / "data" / "reactune.db")
    return {
        "REACTUNE_DATA__DIRECTORY": str(tmp_path / "data"),
        "REACTUNE_MODEL__BASE": str(tiny_base),
        "REACTUNE_MODEL__ENGINE": "transformers",  # comparing a graph with it takes ten seconds
        "REACTUNE_GATE__COHERENCE_MODEL": "base",
        "REACTUNE_METRICS__PORT": "0",
        "REACTUNE_CONSOLE__PORT": "0",
    }


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    return load_settings(environment=variables)


@pytest.fixture
def reactune(variables, tmp_path, run_command):
    """Run `reactune …` in an empty folder."""
    return lambda *words, **more: run_command(tmp_path, *words, **(variables | more))


@pytest.fixture
def in_json(reactune):
    """Run a command that succeeds, and return the object that it prints with --json."""

    def run(*words: str, **more: str) -> Any:
        code, out, err = reactune(*words, "--json", **more)
        assert code == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def refused(reactune):
    """Run a command that is refused, and return the sentence that says why."""

    def run(*words: str, **more: str) -> str:
        code, out, err = reactune(*words, **more)
        assert (code, out) == (2, "")
        return err

    return run


@pytest.fixture
def reactune_process(variables: dict[str, str], tmp_path: Path):
    """Like `reactune`, as a separate process."""

    def run(*words: str, **more: str) -> tuple[int, str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith("REACTUNE_") and k != "DISCORD_TOKEN"}
        done = subprocess.run(
            [sys.executable, "-m", "reactune", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=own | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables | more,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def revision(settings: Settings) -> str:
    return resolve_base_model(settings.model.base, settings.data.directory).revision


@pytest.fixture
def seeded(settings: Settings):
    """Do something in the database that the command line will see."""

    def seed(work) -> Any:
        database = open_database(settings)
        with database.transaction() as session:
            ensure_personality(session)
            result = work(session)
        database.close()
        return result

    return seed


@pytest.fixture
def version(settings: Settings, seeded):
    digest = publish(AdapterStore(settings.data.directory / "adapters"))
    return seeded(
        lambda session: add_version(
            session, digest=digest, base_revision="0123456789abcdef", metrics={"divergence": 0.25}
        )
    )


def test_it_says_its_version(reactune):
    assert reactune("--version") == (0, f"reactune {metadata.version('reactune')}\n", "")


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        (".venv/bin/reactune", ".venv/bin/reactune doctor"),
        ("/usr/lib/python3/reactune/__main__.py", "python -m reactune doctor"),
    ],
)
def test_messages_name_a_command_that_works_where_it_was_called(monkeypatch, tmp_path, called, shown):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [called, "models"])
    assert as_called("See `reactune doctor`.") == f"See `{shown}`."


def test_help_lists_the_commands(reactune):
    code, out, _ = reactune("--help")
    assert code == 0
    for name in ("demo", "run", "bot", "trainer", "train", "model", "votes", "import", "export", "doctor", "bench"):
        assert name in out


def test_the_command_line_loads_no_model_library():
    loaded = "import sys, reactune.app; print({'torch', 'transformers', 'openvino', 'discord'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_the_help_of_the_demo_lists_the_tastes(reactune):
    code, out, _ = reactune("demo", "--help", COLUMNS="200")
    assert code == 0
    assert all(taste in out for taste in TASTES)


@pytest.mark.parametrize("command", [("run",), ("bot",)])
def test_without_a_token_one_sentence_says_what_to_do(refused, command):
    err = refused(*command)
    assert err.splitlines()[-1].startswith("reactune: DISCORD_TOKEN is not set: run `reactune init`, or copy .env")


def test_a_token_in_use_is_a_usage_error_so_a_supervisor_does_not_restart_the_bot(refused):
    with sole_token("a-token"):
        err = refused("bot", DISCORD_TOKEN="a-token")
    assert err.startswith("reactune: another bot on this machine uses the same DISCORD_TOKEN")


def test_a_wrong_setting_names_the_key_and_the_nearest_valid_one(refused, tmp_path):
    (tmp_path / "config.toml").write_text("[training]\nlearningrate = 1\n", encoding="utf-8")
    assert refused("model", "list") == (
        "reactune: config.toml, line 2: training.learningrate is not a setting: did you mean training.learning_rate?\n"
    )


def test_settings_are_listed_with_what_sets_them_and_without_passwords(reactune, tmp_path):
    (tmp_path / "reactune.toml").write_text("# mine\nchat.cooldown_s = 7\n", encoding="utf-8")
    code, out, _ = reactune("settings")
    assert code == 0
    assert "chat.cooldown_s = 7.0 (seconds)   # reactune.toml, line 2; default 3.0\n" in out
    assert "chat.drain_s = 20.0 (seconds)   # default\n    Seconds that a shutdown waits" in out
    assert 'model.engine = "transformers"   # REACTUNE_MODEL__ENGINE; default "auto"\n' in out
    url = "sqlite:////tmp/secret.db"
    out = reactune("settings", "database.url", "--json", REACTUNE_DATABASE__URL=url)[1]
    (listed,) = json.loads(out)["settings"]
    assert (listed["value"], listed["source"], url in out) == ("(hidden)", "REACTUNE_DATABASE__URL", False)


def test_settings_are_found_by_a_word_of_their_name_or_their_meaning(reactune, refused):
    out = reactune("settings", "Quiet", "--json")[1]
    assert [one["name"] for one in json.loads(out)["settings"]] == ["chat.quiet_hours", "chat.time_zone"]
    err = refused("settings", "xyzzy")
    assert "no setting has 'xyzzy' in its name or description: `reactune settings` lists all" in " ".join(err.split())


def test_a_missing_settings_file_is_named(refused):
    assert "the settings file nowhere.toml does not exist" in refused("model", "list", "--config", "nowhere.toml")


def test_a_database_that_cannot_be_reached_is_a_failure_in_one_sentence(reactune):
    code, _, err = reactune("model", "list", REACTUNE_DATABASE__URL="postgresql+psycopg://u:secret@127.0.0.1:1/x")
    assert code in (1, 2)
    assert len(err.splitlines()) == 1
    assert "secret" not in err


def test_the_database_is_migrated(in_json, settings):
    (settings.data.directory / "reactune.db").unlink()
    first = in_json("db", "migrate")
    assert first["from"] == ""
    assert in_json("db", "migrate") == {"from": first["to"], "to": first["to"]}


def test_the_target_address_of_a_copy_is_kept_out_of_shell_history(reactune, in_json, refused, version, tmp_path):
    target = f"sqlite:///{tmp_path / 'copy.db'}"
    err = refused("db", "copy")
    assert err.endswith("the target is missing: give its address, or set it as COPY_TO_URL in the environment\n")
    copied = in_json("db", "copy", "--to-env", "COPY_TO", COPY_TO=target)["tables"]
    rows = {table["table"]: table["rows"] for table in copied}
    assert (rows["versions"], rows["aliases"]) == (1, 2)
    assert "the target already has rows: use an empty database" in refused("db", "copy", target)
    assert "v1" in reactune("model", "list", REACTUNE_DATABASE__URL=target)[1]


def test_a_database_that_a_shard_of_the_bot_uses_is_not_copied(refused, settings, tmp_path):
    with closing(open_database(settings)) as database:
        database.call(record_heartbeat, "bot 1/2", worker_name(settings.data.directory))
    err = refused("db", "copy", f"sqlite:///{tmp_path / 'copy.db'}")
    assert f"another bot 1/2 is using {socket.gethostname()}:{settings.data.directory}: stop it first" in err


def test_a_backup_is_made_and_restored(reactune, in_json, refused, version, tmp_path):
    file = str(tmp_path / "backup.tar.gz")
    made = in_json("backup", file)
    assert (made["adapters"], made["rows"]["versions"]) == ([version.digest], 1)
    reactune("model", "promote", "v1")
    assert "already has rows: add --replace" in refused("restore", file)
    assert Path(in_json("restore", file, "--replace")["saved"]).is_file()
    assert in_json("model", "list")["in_use"] == "base"
    (line,) = in_json("audit", "--action", "restore")["entries"]
    assert line["subject"].startswith("backup.tar.gz, of ")


def test_a_backup_is_tried_beside_a_running_bot(reactune, in_json, settings, version, tmp_path):
    file, trial = str(tmp_path / "backup.tar.gz"), tmp_path / "trial"
    (tmp_path / "reactune.toml").write_text("chat.cooldown_s = 7\n")
    in_json("backup", file)
    (tmp_path / "reactune.toml").unlink()
    with sole_process(BOT, settings.data.directory):
        done = in_json("restore", file, "--into", str(trial))
    assert done["settings"] == str(trial / "reactune.toml")
    assert (trial / "adapters" / version.digest).is_dir()
    assert in_json("audit", "--action", "restore")["entries"] == []
    with closing(sqlite3.connect(trial / "reactune.db")) as restored:
        assert restored.execute("SELECT count(*) FROM versions").fetchone() == (1,)
    assert not (tmp_path / "reactune.toml").exists()


@pytest.mark.slow
def test_a_restore_that_is_ended_leaves_nothing_behind(reactune, settings, variables, version, tmp_path):
    file, data = str(tmp_path / "backup.tar.gz"), settings.data.directory
    assert reactune("backup", file)[0] == 0
    command = [sys.executable, "-m", "reactune", "restore", file, "--replace"]
    with closing(sqlite3.connect(data / "reactune.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # so that the restore waits, with the backup unpacked
        with subprocess.Popen(command, env=os.environ | variables, cwd=tmp_path) as restore:
            while not any(data.glob(".restore-*/*")) and restore.poll() is None:
                time.sleep(0.05)
            restore.send_signal(signal.SIGTERM)
            other.rollback()
        assert restore.returncode == 143
    assert list(data.glob(".restore-*")) == []
    assert reactune("restore", file, "--replace")[0] == 0


def test_restoring_says_what_stays_deleted(reactune, settings, version, tmp_path):
    file = str(tmp_path / "backup.tar.gz")
    database = open_database(settings)
    with database.transaction() as session:
        reply_id = add_reply(session)
    assert reactune("backup", file)[0] == 0
    with database.transaction() as session:
        session.delete(session.get_one(ReplyRow, reply_id))
    database.close()
    out = reactune("restore", file, "--replace")[1]
    assert "Not restored: 1 row deleted after the backup." in " ".join(out.split())


def test_a_backup_without_the_files_of_a_version_is_none_to_rely_on(reactune, settings, version, tmp_path):
    (settings.data.directory / "adapters" / version.digest / "adapter_model.safetensors").unlink()
    file = str(tmp_path / "backup.tar.gz")
    code, out, _ = reactune("backup", file)
    assert code == 1
    assert "1 adapter could not be backed up (missing or damaged)" in " ".join(out.split())
    code, out, _ = reactune("restore", file, "--replace")
    assert code == 0
    assert "1 adapter missing from the backup" in " ".join(out.split())


def test_a_backup_is_whole_without_the_files_of_a_withdrawn_version(reactune, settings, seeded, version, tmp_path):
    shutil.rmtree(settings.data.directory / "adapters" / version.digest)
    seeded(lambda session: setattr(session.get_one(VersionRow, version.id), "withdrawn_at", utc_now()))
    code, out, _ = reactune("backup", str(tmp_path / "backup.tar.gz"))
    assert code == 0
    assert "could not be backed up" not in out


def test_models_are_listed_shown_promoted_and_rolled_back(reactune, in_json, version):
    assert [v["name"] for v in in_json("model", "list")["versions"]] == ["v1"]
    assert in_json("model", "show", "v1")["metrics"] == {"divergence": 0.25}
    assert in_json("model", "promote", "v1") == {"in_use": "v1", "changes": 1}
    assert "👑 v1" in reactune("model", "list")[1]
    shown = in_json("model", "show", "v1")
    assert "(command line)" in shown["moves"][0]["moved_by"]
    assert in_json("model", "rollback") == {"in_use": "base", "changes": 2}


def test_a_version_is_shown_and_promoted_with_the_same_messages_before_and_after(reactune, in_json, seeded, version):
    metrics = compared_metrics("Fine! And you?")
    seeded(lambda session: session.execute(update(VersionRow).values(metrics=metrics)))
    row = {"message": "Hi, how are you?", "before": "hm", "after": "Fine! And you?"}
    compared = {"before": "base", "after": "v1", "answers": [row, row | {"message": "What is tea?"}]}
    assert in_json("model", "show", "v1")["before_after"] == compared
    _, shown, _ = reactune("model", "show", "v1")
    assert "“Hi, how are you?”" in shown
    assert "base: hm" in shown
    assert "v1: Fine! And you?" in shown
    assert "chosen by nobody" in shown
    _, promoted, _ = reactune("model", "promote", "v1")
    assert "v1 is now in use." in promoted
    assert "v1: Fine! And you?" in promoted
    reactune("model", "rollback")
    assert in_json("model", "promote", "v1")["before_after"] == compared


def test_only_a_version_of_this_base_becomes_a_file_for_llama_cpp(reactune, refused, version, tmp_path):
    assert "the base model has no adapter to write: name a version, such as v3" in refused(
        "model", "gguf", "base", "files"
    )
    code, _, err = reactune("model", "gguf", "v1", "files")
    assert code == 1
    assert "was trained on" in err
    assert not (tmp_path / "files").exists()


def test_old_versions_are_pruned_once_the_settings_say_so(reactune, in_json, settings, seeded):
    store = AdapterStore(settings.data.directory / "adapters")
    digests = [publish(store, value=float(value)) for value in range(3)]
    common = {"base_name": "tiny", "base_revision": "r", "parent_id": None, "round_id": None, "metrics": {}}
    seeded(lambda session: [register(session, 1, NewVersion(digest=digest, **common)) for digest in digests])
    store.sweep(lambda: set(digests))
    assert in_json("model", "prune") == {"removed": [], "dry_run": False}
    assert reactune("model", "prune")[1].strip() == "Nothing to delete."
    expected = {
        "personality": "default",
        "version": "v1",
        "digest": digests[0],
        "because": "it is older than the newest 2",
    }
    keep_two = {"REACTUNE_TRAINING__KEEP_VERSIONS": "2"}
    tried = in_json("model", "prune", "--dry-run", **keep_two)
    assert tried == {"removed": [expected], "dry_run": True}
    assert store.path(digests[0]).is_dir()
    assert (
        "Deleted the files of default v1: it is older than the newest 2." in reactune("model", "prune", **keep_two)[1]
    )
    left = {path.name for path in (settings.data.directory / "adapters").iterdir() if path.is_dir()}
    assert left == set(digests[1:])
    (line,) = in_json("audit", "--action", "version prune")["entries"]
    assert (line["subject"], line["reason"]) == ("v1", "it is older than the newest 2")
    code, _, err = reactune("model", "promote", "v1")
    assert (code, err.startswith("reactune: the files of v1 were withdrawn on ")) == (2, True)


@pytest.fixture
def doubtful(settings: Settings, seeded):
    """A version that the gate did not pass."""
    digest = publish(AdapterStore(settings.data.directory / "adapters"), value=2.0)

    def add(session):
        check = {"name": "divergence", "outcome": "fail", "sentence": "answers moved 4.2 nats per token"}
        gate = {"verdict": "fail", "checks": [check]}
        session.add(RoundRow(id=1, personality_id=1, requested_by="somebody", gate=gate))
        session.flush()
        return add_version(session, 1, digest=digest, base_revision="0123456789abcdef", verdict=GateVerdict.FAIL)

    return seeded(add)


def test_a_version_that_did_not_pass_is_promoted_only_with_override_and_reason(in_json, refused, doubtful):
    assert refused("model", "promote", "v1") == (
        "reactune: v1 is not ready (it failed a check: answers moved 4.2 nats per token): "
        "to use it anyway, repeat with override and a reason\n"
    )
    assert "overriding the checks needs a reason" in refused("model", "promote", "v1", "--override")
    assert in_json("model", "promote", "v1", "--override", "--reason", "only a test")["in_use"] == "v1"
    (move,) = in_json("model", "show", "v1")["moves"]
    assert (move["overrides_gate"], move["reason"]) == (True, "only a test")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("promote", "v7"), "there is no version v7"),
        (("history", "v7"), "there is no version v7"),
        (("rollback",), "no earlier version to roll back to"),
        (("promote", "base"), "base is already in use"),
        (("list", "--personality", "nobody"), "there is no personality 'nobody': choose one of default\n"),
    ],
)
def test_an_impossible_model_command_prints_a_sentence_and_exits_with_2(refused, version, words, sentence):
    err = refused("model", *words)
    assert sentence in err
    assert len(err.splitlines()) == 1


@pytest.fixture
def voted_version(seeded, revision):
    """v1, made by a round from an answer that BOB liked and one that he did not."""

    def write(session):
        add_siblings(session, 1, base_revision=revision)
        add_version(session, add_round(session, LATER, [pair(1, 2)]))

    seeded(write)


def test_privacy_report_counts_what_is_stored(reactune, in_json, settings) -> None:
    database = open_database(settings)
    with database.transaction() as session:
        add_reply(session, basis=None)
    database.close()
    report = in_json("privacy", "report")
    assert (report["answers"], report["rows"]["replies"]) == ({"none": {"under 1 day": 1}}, 1)
    lines = reactune("privacy", "report")[1].splitlines()
    assert any(line == "Answers not used for training: 1 (1 under 1 day)." for line in lines)
    assert "Versions trained on data that was deleted later: none." in lines


def test_lineage_leads_from_a_version_to_its_votes_and_back(reactune, in_json, voted_version):
    lineage = in_json("model", "history", "v1")
    assert (lineage["chain"], lineage["votes"]) == (["v1", "base"], {"up": 1, "down": 1})
    assert lineage["rounds"][0]["pairs"][0]["chosen"]["votes"][0]["user_id"] == BOB
    lines = reactune("model", "history", "v1")[1].splitlines()
    assert lines[0].startswith("v1 (v1 ← base) was made in 1 round. Behind the pairs: 2 votes")
    assert f"(👍 user {BOB}) over answer 2 https://discord.com/channels/" in lines[3]

    votes = in_json("votes", "outcomes", str(BOB))["votes"]
    assert [vote["status"] for vote in votes] == ["trained on", "trained on"]
    lines = reactune("votes", "outcomes", str(BOB))[1].splitlines()
    assert lines[0] == f"User {BOB} voted on 2 answers: 2 trained on."
    used = "used as the better answer in round 1 → v1 (passed the checks)"
    assert lines[2].endswith(f"“good answer 0”: counts towards what members here like; {used}")


def test_the_base_and_strangers_have_no_lineage(reactune, seeded, revision):
    seeded(ensure_personality)
    assert reactune("model", "history", "base")[1].startswith("base is the base model without an adapter")
    assert reactune("votes", "outcomes", "5")[1] == "User 5 hasn't voted yet.\n"


def test_the_report_is_a_picture(in_json, voted_version, tmp_path):
    report = in_json("model", "report", "out.png")
    assert (report["file"], report["champion"]) == ("out.png", "base")
    assert [round_["by_source"] for round_ in report["rounds"]] == [{"siblings": 1}]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("file", "sentence"),
    [("report.jpg", "choose a name that ends in .png"), ("nowhere/report.png", "choose another file")],
)
def test_a_report_that_cannot_be_written_is_a_sentence(refused, voted_version, file, sentence):
    err = refused("model", "report", file)
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_taste_says_what_people_like_how_sure_and_why(reactune, in_json, seeded):
    seeded(lambda session: add_taste(session, 40))
    code, out, _ = reactune("taste")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("After 40 votes by 3 members, members like: ")
    assert lines[1].startswith("I use it to choose answers: it guesses votes ")
    assert any(line.startswith("- a question at the end: ") and line.endswith(" 👍 (sure)") for line in lines)
    assert [line[0] for line in lines if line[0] in "👍👎"] == ["👍", "👍", "👎", "👎"]
    assert lines[-1].endswith("I see style only, not whether an answer is right, funny or helpful.")

    found = in_json("taste")
    assert (found["personality"], found["votes"], found["choices"], found["members"]) == ("default", 40, 0, 3)
    assert (found["is_learning"], found["is_used"]) == (True, True)
    assert found["e_value"] > 1
    by_name = {effect["name"]: effect for effect in found["effects"]}
    asking = by_name["question at the end"]
    assert (asking["words"], asking["sureness"]) == ("a question at the end", "sure")
    assert asking["size"] > asking["spread"] > 0
    assert asking["share_before"] < asking["share_low"] < asking["share_after"] < asking["share_high"]
    assert [len(found[side]) for side in ("liked", "disliked")] == [2, 2]
    assert found["not_known_yet"]


def test_taste_answers_before_there_is_a_vote_and_when_it_is_switched_off(reactune, in_json, seeded):
    seeded(ensure_personality)
    assert reactune("taste")[:2] == (
        0,
        "Nobody has voted yet, so I can't say what members like. Every 👍 and 👎 helps.\n",
    )
    empty = in_json("taste")
    assert (empty["votes"], empty["since"], empty["effects"], empty["liked"], empty["is_used"]) == (
        0,
        None,
        [],
        [],
        False,
    )
    off = reactune("taste", REACTUNE_PRIVACY__LEARN_FROM_REACTIONS="false")[1]
    assert (
        off == "I don't learn from reactions here: the operator has turned that off (privacy.learn_from_reactions).\n"
    )


def test_the_taste_is_switched_off_and_on_and_a_rollback_offers_that(reactune, in_json, seeded):
    def write(session):
        add_taste(session, 40)
        promote(session, 1, add_version(session, None), expected_generation=0, by="ann", reason="")

    seeded(write)
    said = " ".join(reactune("model", "rollback")[1].split())
    assert "No version answers yet, but people's votes already shape the answers." in said
    assert said.endswith("To switch that off too, run reactune taste --switch off.")
    assert "I don't use it: an admin has switched it off." in reactune("taste", "--switch", "off")[1]
    found = in_json("taste")
    assert (found["is_switched_off"], found["is_used"], found["teaches"]) == (True, False, False)
    assert "An admin has decided that answers" in " ".join(reactune("model", "list")[1].split())
    assert "set not to follow what members like" in " ".join(reactune("personality", "list")[1].split())
    reactune("taste", "--switch", "on")
    assert in_json("taste")["is_used"]
    trail = " ".join(reactune("audit")[1].split())
    assert trail.index("on, of default") < trail.index("off, of default")


def test_train_says_how_many_pairs_are_missing(in_json, seeded, revision):
    seeded(lambda session: add_siblings(session, 2, base_revision=revision))
    round_ = in_json("train")
    assert round_["status"] == "skipped"
    assert round_["reason"].startswith("2 pairs to learn from, 8 needed: vote on answers")


def test_ctrl_c_leaves_a_round_that_another_trainer_runs(reactune, in_json, settings, monkeypatch):
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(worker, "stopped_by_signals", lambda: nullcontext(stop))
    with sole_process(TRAINER, settings.data.directory):
        code, out, _ = reactune("train", "--json")
    assert (code, json.loads(out)["status"]) == (130, "requested")
    (line,) = in_json("audit")["entries"]
    assert (line["action"], line["outcome"]) == ("version train", "done")


def test_a_refused_round_is_recorded_as_refused(reactune, in_json, seeded):
    seeded(lambda session: request_round(session, 1, "ann", TrainingSource.EXAMPLES))
    code, _, err = reactune("train")
    assert (code, "which learns from examples, is not finished" in err) == (1, True)
    (line,) = in_json("audit")["entries"]
    assert (line["action"], line["outcome"]) == ("version train", "refused")


def test_a_trainer_that_needs_a_person_is_not_restarted(tmp_path, caplog):
    with supervised_trainer(tmp_path / "missing.toml", {}):
        (keeper,) = [thread for thread in threading.enumerate() if thread.name == "trainer keeper"]
        keeper.join(120)
        assert not keeper.is_alive()
    assert "The trainer stopped and needs you" in caplog.text


def test_exported_pairs_are_what_trl_reads(in_json, seeded, revision, tmp_path):
    seeded(lambda session: add_siblings(session, 3, base_revision=revision))
    assert in_json("export", "pairs.jsonl")["pairs"] == 3
    dataset = load_dataset("json", data_files=str(tmp_path / "pairs.jsonl"), split="train", cache_dir=str(tmp_path))
    assert {"prompt", "chosen", "rejected"} <= set(dataset.column_names)
    assert dataset[0]["chosen"] == "good answer 0"
    assert set(dataset["source"]) == {"siblings"}
    assert dataset["weight"] == pytest.approx([2 / 3] * 3)


def test_the_export_counts_the_questions_that_the_status_names(in_json, seeded, settings, revision):
    def write(session):
        add_siblings(session, 3, base_revision=revision)
        first, second = ask_twice(session, None, None, base_revision=revision)
        compare(session, first, second, ALICE, Better.FIRST)
        improved = add_reply(session, prompt="<|user|>more<|bot|>", answer="no", base_revision=revision)
        add_correction(session, improved, "a better answer")
        return look_ahead(session, 1, settings, revision).pairs

    material = seeded(write)
    assert material == PairMaterial(compared=3, choices=1, suggestions=1)
    assert in_json("export", "pairs.jsonl") == {
        "pairs": 5,
        "questions": 5,
        "file": "pairs.jsonl",
    }


def test_imported_pairs_count_once_and_come_out_again(in_json, tmp_path):
    lines = [
        {"prompt": "How are you?", "chosen": "Fine!", "rejected": "As an AI I have no feelings."},
        {
            "prompt": [{"role": "user", "content": "Hi"}],
            "chosen": "Hello",
            "rejected": [{"role": "assistant", "content": "No"}],
        },
        {"prompt": "<|im_start|>user\nraw<|im_end|>\n", "chosen": "yes", "rejected": "no"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    assert in_json("import", "in.jsonl") == {"imported": 3, "known": 0}
    assert in_json("import", "in.jsonl") == {"imported": 0, "known": 3}
    assert in_json("export", "out.jsonl")["pairs"] == 3
    exported = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [pair["chosen"] for pair in exported] == ["Fine!", "Hello", "yes"]
    assert "<|im_start|>user\nHow are you?" in exported[0]["prompt"]
    assert all("You are Reactune" in pair["prompt"] for pair in exported[:2])
    assert exported[2]["prompt"] == lines[2]["prompt"]


def test_unusual_characters_survive_the_way_out_and_back(reactune, in_json, tmp_path):
    line = {"prompt": "a", "chosen": "one\u2028two\u0085three", "rejected": "no\x00pe"}
    (tmp_path / "in.jsonl").write_text("\ufeff" + json.dumps(line), encoding="utf-8")
    assert in_json("import", "in.jsonl")["imported"] == 1
    reactune("export", "out.jsonl")
    assert in_json("import", "out.jsonl") == {"imported": 0, "known": 1}


def test_a_demo_whose_port_is_taken_says_so_at_once(refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        err = refused("demo", "--no-browser", "--port", str(port))
    assert err == f"reactune: port {port} is in use: choose another with --port, or 0 for a free one\n"


@pytest.mark.parametrize("below", ["", "demo"])
def test_a_demo_whose_folder_cannot_be_used_names_the_option(refused, tmp_path, below):
    (tmp_path / "file").touch()
    err = refused("demo", "--no-browser", "--port", "0", "--directory", str(tmp_path / "file" / below))
    assert err.endswith(": choose another folder with --directory\n")


def test_a_demo_leaves_a_tilde_to_the_shell(reactune, tmp_path):
    (tmp_path / "~nobody-here").touch()
    code, _, err = reactune("demo", "--no-browser", "--port", "0", "--directory", "~nobody-here")
    assert (code, "data.directory" in err) == (2, False)
    assert f"the folder {tmp_path / '~nobody-here'} cannot be used" in err


@pytest.mark.parametrize(("browser", "is_opened"), [("w3m", False), ("browser.sh", True)])
def test_pages_are_opened_in_no_text_browser(tmp_path, browser, is_opened):
    stand_in, opened = tmp_path / browser, tmp_path / "opened"
    stand_in.write_text(f"#!/bin/sh\necho > {opened}\n", encoding="utf-8")
    stand_in.chmod(0o755)
    path = os.pathsep.join(sys.path)
    environment = {"PATH": "/nowhere", "TERM": "xterm", "BROWSER": str(stand_in), "PYTHONPATH": path}
    program = "from reactune.shared import open_in_browser; open_in_browser('http://127.0.0.1:8790/')"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert opened.exists() == is_opened


def test_a_demo_serves_its_page_to_a_browser_that_stays_in_the_foreground(reactune, tmp_path, monkeypatch):
    served, seen = threading.Event(), threading.Event()

    async def serve(_, *, on_ready, **__):
        on_ready("http://127.0.0.1:8790/")
        served.set()
        assert seen.wait(HANG_S)

    monkeypatch.setattr("reactune.demo.open_in_browser", lambda _: served.wait(HANG_S) and seen.set())
    monkeypatch.setattr("reactune.demo.prepare_base", lambda *_: None)
    monkeypatch.setattr("reactune.demo.supervised_trainer", lambda *_: nullcontext())
    monkeypatch.setattr("bot.demo.page.serve_demo", serve)
    assert reactune("demo", "--port", "0", "--directory", str(tmp_path / "demo"))[0] == 0


def test_a_demo_waits_only_for_a_folder_that_another_process_uses(tmp_path):
    said = []
    with sole_demo(tmp_path, said.append):
        assert said == []


def test_a_second_demo_in_the_same_folder_waits_and_names_the_option(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("reactune.demo.EARLIER_DEMO_S", 0.0)
    claim_folder(tmp_path / "demo")
    with sole_process(BOT, tmp_path / "demo"):
        err = refused("demo", "--no-browser", "--port", "0", "--directory", "demo")
    assert err.startswith("Waiting for another demo to release the folder …\n")
    assert err.endswith(
        f"another bot is using {tmp_path / 'demo'}: stop it first, or choose another folder with --directory\n"
    )


def test_a_missing_import_file_is_named(refused):
    assert "nowhere.jsonl cannot be read" in refused("import", "nowhere.jsonl")


def test_an_export_to_a_place_that_cannot_be_written_is_a_usage_error(refused):
    assert "out.jsonl cannot be written" in refused("export", "missing/out.jsonl")


def test_a_correction_is_exported_with_its_sources(reactune, seeded, revision, tmp_path):
    def write(session):
        add_correction(session, add_reply(session, base_revision=revision), "a better one")
        add_reply(session, answer="an earlier answer", base_revision=revision)

    seeded(write)
    reactune("export", "out.jsonl")
    pairs = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(pair["chosen"], pair["rejected"], pair["source"], pair["weight"]) for pair in pairs] == [
        ("a better one", "hello yourself", "correction", 1.0),
        ("a better one", "an earlier answer", "corrected sample", 0.5),
    ]


def test_votes_that_do_not_count_are_not_exported(in_json, seeded, revision):
    def write(session):
        for answer, value in (("good", Vote.UP), ("bad", Vote.DOWN)):
            vote(session, add_reply(session, answer=answer, base_revision=revision), account(days_old=1), value)

    seeded(write)
    assert in_json("export", "out.jsonl")["pairs"] == 0


def doctor_finds(reactune, **more: str) -> dict[str, dict[str, str]]:
    """Return the findings of a doctor that finds something to fix, by the name of the check."""
    code, out, _ = reactune("doctor", "--json", **more)
    assert code == 1
    return {finding["what"]: finding for finding in json.loads(out)["findings"]}


def test_on_a_new_install_doctor_says_what_is_missing_and_asks_only_for_a_token_and_a_server(reactune):
    code, out, _ = reactune("doctor")
    assert code == 1
    assert "2 things to fix" in out
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("–")] == ["– Trainer"]
    findings = doctor_finds(reactune)
    assert [what for what, finding in findings.items() if finding["status"] == "problem"] == ["Access", "Token"]
    assert findings["Database"]["message"] == "sqlite, schema up to date"
    assert findings["Base model"]["status"] == "ok"
    assert "base, no adapter" in findings["Versions in use"]["message"]
    assert "reactune run" in findings["Trainer"]["message"]
    assert "DISCORD_TOKEN is not set" in findings["Token"]["message"]
    assert "privacy.discord_training_permission" in findings["May be used for training"]["message"]


def test_doctor_names_a_base_model_that_is_not_there(reactune):
    base = doctor_finds(reactune, REACTUNE_MODEL__BASE="/nowhere")["Base model"]
    assert (base["status"], "model.base" in base["message"]) == ("problem", True)


def test_without_a_checkout_a_bench_says_what_it_needs(reactune_process, tmp_path):
    root, installed = Path(__file__).parents[2], tmp_path / "installed"
    installed.mkdir()
    shutil.copytree(root / "reactune", installed / "reactune")
    for room in ("bot", "storage", "trainer"):
        (installed / room).symlink_to(root / room)
    code, out, err = reactune_process("bench", "votes", PYTHONPATH=str(installed))
    assert (code, out) == (2, "")
    assert err.startswith("reactune: bench votes needs tests")
    assert err.endswith(": run it in a checkout after `pip install -e '.[bench]'`\n")


def test_a_comparison_in_which_somebody_does_not_answer_fails(reactune, monkeypatch):
    async def nobody_answers(_engine, contestants, prompts, **_):
        return [Comparison(prompt, (NO_ANSWER,) * len(contestants)) for prompt in prompts]

    monkeypatch.setattr("bot.releases.comparison.compare_versions", nobody_answers)
    code, out, _ = reactune("compare", "Hi?", "--json")
    assert code == 1
    answers = {"base": None, "prompt only": None, "default base": None}
    assert json.loads(out) == {"comparisons": [{"prompt": "Hi?", "answers": answers}]}


def test_every_bench_is_listed_and_an_unknown_one_or_a_share_beyond_all_is_refused(reactune, refused):
    code, out, _ = reactune("bench", "--help")
    assert code == 0
    assert all(name in out for name in ("votes", "community", "knowledge", "training", "serving", "startup", "soak"))
    assert "--noise" in refused("bench", "community", "--noise", "2")
    err = refused("bench", "speed")
    assert "No such command 'speed'" in err
    assert "Traceback" not in err


class TestPersonalities:
    @pytest.fixture
    def card(self, tmp_path: Path) -> Path:
        """A card in the folder that the command line looks into."""
        (tmp_path / "personalities").mkdir()
        path = tmp_path / "personalities" / "keeper.toml"
        dialogues = "\n".join(f"[[examples]]\ndialogue = ['How are you, {n}?', 'Yes, of course.']" for n in range(12))
        path.write_text(f"description = 'Few words.'\nsystem_prompt = 'You keep a lighthouse.'\n{dialogues}\n")
        return path

    def test_cards_are_listed_before_the_bot_has_ever_started(self, reactune, in_json, card):
        listed = in_json("personality", "list")["personalities"]
        assert [(p["name"], p["in_use"]) for p in listed] == [("default", "base"), ("keeper", "base")]
        words = "base (has not learned yet and follows the examples on its card)"
        assert f"keeper · in use: {words}" in " ".join(reactune("personality", "list")[1].split())
        shown = reactune("personality", "show", "keeper")[1]
        assert shown.startswith(f"# in use: {words}\n")
        assert "You keep a lighthouse." in shown

    def test_commands_leave_known_cards_as_they_are_and_an_import_takes_the_file(self, reactune, card):
        assert doctor_finds(reactune)["Personalities"]["message"] == "default, keeper; cards in personalities"
        reactune("personality", "list")
        card.write_text("system_prompt = 'You keep an inn.'")
        for words in ("doctor",), ("train", "--personality", "keeper"), ("export", "pairs.jsonl"):
            reactune(*words)
        assert "You keep a lighthouse." in reactune("personality", "show", "keeper")[1]
        assert reactune("personality", "import", str(card))[0] == 0
        assert "You keep an inn." in reactune("personality", "show", "keeper")[1]

    def test_a_broken_card_is_reported_and_the_others_work(self, reactune, refused, card):
        (card.parent / "owl.toml").write_text("system_promt = 'x'")
        assert "there is no personality 'owl': choose one of default, keeper" in refused("personality", "show", "owl")
        cards = doctor_finds(reactune)["Personalities"]
        assert cards["status"] == "problem"
        assert "owl.toml: system_promt is not a key of a card" in cards["message"]

    def test_a_first_version_by_demonstration_is_compared_exported_and_imported(
        self, reactune, in_json, card, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(worker, "_run_in_process", run_short_round)
        quick = {
            "REACTUNE_TRAINING__DTYPE": "float32",
            "REACTUNE_TRAINING__LORA_RANK": "4",
            "REACTUNE_TRAINING__NICENESS": "0",
            "REACTUNE_DEMONSTRATION__EPOCHS": "1",
            "REACTUNE_GATE__TOLERANCE": json.dumps(dict(TOLERANT)),
            "REACTUNE_GENERATION__MAX_NEW_TOKENS": "8",
        }
        trained = in_json("train", "--personality", "keeper", "--from", "examples", **quick)
        assert trained["reason"].startswith("v1 learned from ")
        assert (trained["before_after"]["before"], trained["before_after"]["after"]) == ("base", "v1")
        assert len(trained["before_after"]["answers"]) == 3
        reason = ("--override", "--reason", "a test", "--personality", "keeper")
        assert reactune("model", "promote", "v1", *reason)[0] == 0
        code, out, _ = reactune(
            "compare", "Hi", "--base", "--prompt-only", "--personality", "keeper", "--json", **quick
        )
        (comparison,) = json.loads(out)["comparisons"]
        assert comparison["prompt"] == "Hi"
        assert list(comparison["answers"]) == ["base", "prompt only", "keeper v1"]
        words = reactune("compare", "Hi", "--no-base", "--personality", "keeper", **quick)[1]
        assert "prompt only:" in words
        assert "- base:" not in words
        assert in_json("personality", "export", "keeper", "out")["version"] == "v1"
        assert (tmp_path / "out" / "README.md").read_text().count("example answers from the card") == 1
        assert reactune("personality", "export", "keeper", "out")[0] == 2
        code, out, _ = reactune("personality", "import", "out", "--name", "copy")
        assert code == 0
        assert "copy was created with 12 examples. Its adapter is v1. It has not been checked" in out
        assert "Commands that begin with / are for Discord." in out
        assert "not checked, because it was imported" in reactune("model", "show", "v1", "--personality", "copy")[1]

    def test_a_card_file_is_imported_under_its_name(self, reactune, card, tmp_path):
        (tmp_path / "owl.toml").write_text("system_prompt = 'Hoo.'")
        assert "owl was created" in reactune("personality", "import", "owl.toml")[1]
        assert "did not change" in reactune("personality", "import", "owl.toml")[1]

    def test_a_picture_is_set_and_removed(self, reactune, card, tmp_path):
        (tmp_path / "face.webp").write_bytes(portrait("WEBP"))
        assert "is beside the messages of keeper" in reactune("personality", "picture", "keeper", "face.webp")[1]
        assert "already" in reactune("personality", "picture", "keeper", "face.webp")[1]
        assert "was removed from keeper" in reactune("personality", "picture", "keeper", "--remove")[1]
        for words, said in ((), "either a picture's file or --remove"), (("none.png",), "none.png cannot be read"):
            code, _, err = reactune("personality", "picture", "keeper", *words)
            assert (code, said in " ".join(err.split())) == (2, True)

    def test_a_character_card_of_sillytavern_goes_in(self, reactune, in_json, card, tmp_path):
        book = {"entries": [{"keys": ["lamp"], "content": "Burns oil."}]}
        (tmp_path / "ebba.png").write_bytes(picture_of(card_of(character_book=book)))
        out = reactune("personality", "import", "ebba.png")[1]
        assert "ebba-lind was created with 2 examples." in out
        assert "was left out: repeat with --name ebba-lind and --server with the ID" in " ".join(out.split())
        notes = in_json("personality", "import", "ebba.png", "--name", "ebba-lind", "--server", "77")["notes"]
        kept = "The lorebook (1 entry) became document 1 (1 passage) of the server, which only ebba-lind quotes."
        assert notes[-1] == kept
        assert reactune("personality", "export", "ebba-lind", "out.toml")[0] == 0
        shown = in_json("personality", "show", "ebba-lind")["card"]
        assert read_any_card(tmp_path / "out.toml").card.as_dict() == shown

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (
                ("personality", "export", "keeper", "a.toml", "--version", "v1"),
                "a.toml is a card, which has no version",
            ),
            (
                ("personality", "export", "keeper", "a.png"),
                "a.png is not a name for it: a card is exported as a .toml file",
            ),
            (
                ("personality", "export", "keeper", "out"),
                "the version in use of keeper is base, which has no adapter to export",
            ),
            (
                ("personality", "export", "keeper", "out", "--version", "base"),
                "base has no adapter to export",
            ),
            (("personality", "import", "none.zip", "--name", "x"), "none.zip cannot be read"),
            (
                ("personality", "import", "personalities/keeper.toml", "--name", "Night Owl"),
                "is not a valid personality name",
            ),
            (("train", "--personality", "pirat"), "there is no personality 'pirat'"),
            (("compare", "--personality", "pirat"), "there is no personality 'pirat'"),
        ],
    )
    def test_an_impossible_command_prints_a_sentence(self, reactune, card, words, said):
        code, out, err = reactune(*words)
        assert (code in (1, 2), out) == (True, "")
        assert said in err

    def test_pairs_go_to_the_personality_that_is_named(self, reactune, card, tmp_path):
        (tmp_path / "pairs.jsonl").write_text('{"prompt": "Hi", "chosen": "Evening.", "rejected": "Hello!"}\n')
        assert "Imported 1 pair" in reactune("import", "pairs.jsonl", "--personality", "keeper")[1]
        assert "Wrote 0 pairs" in reactune("export", "default.jsonl")[1]
        assert "Wrote 1 pair" in reactune("export", "keeper.jsonl", "--personality", "keeper")[1]
        (line,) = load_dataset("json", data_files=str(tmp_path / "keeper.jsonl"), split="train")
        assert "You keep a lighthouse." in line["prompt"]
        assert (line["chosen"], line["rejected"]) == ("Evening.", "Hello!")


def test_changes_and_refusals_stand_in_the_audit_trail(reactune, in_json, version):
    reactune("model", "promote", "v1", "--reason", "votes like it")
    reactune("model", "promote", "v1")
    refused, done = in_json("audit")["entries"]
    assert (done["action"], done["outcome"], done["reason"]) == ("version promote", "done", "votes like it")
    assert (refused["outcome"], refused["note"]) == ("refused", "v1 is already in use: nothing was changed")
    assert done["actor"].endswith("(command line)")
    said = " ".join(reactune("audit", "--action", "votes")[1].split())
    assert said.startswith("The audit trail has no such entries. Its actions so far: version ")


@pytest.mark.parametrize("words", [("audit", "--member", "9" * 25), ("audit", "--limit", "9" * 25)])
def test_numbers_that_no_database_holds_are_refused(refused, words):
    assert "Invalid value" in refused(*words)


@pytest.mark.parametrize("id_", ["9" * 19, "9" * 5000, "\u0662"])
def test_an_id_that_nothing_can_have_is_not_found(reactune, id_):
    code, out, _ = reactune("trace", id_)
    assert code == 1
    assert out.startswith("No reply has this request or message id")


def test_an_argument_that_is_not_text_is_refused(reactune):
    sentence = "reactune: an argument is not valid UTF-8: write it in UTF-8, file names included\n"
    assert reactune("trace", "\udcff") == (2, "", sentence)
