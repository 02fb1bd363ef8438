"""The doctor finds what an operator got wrong before a round or a release does."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from datetime import timedelta

import pytest

from bot.engine import EngineState
from bot.operations.alerts import local_alerts
from bot.operations.health import HealthCheck
from reactune.doctor.command import list_checks
from reactune.doctor.findings import Finding, FindingStatus, describe_findings
from reactune.doctor.findings import find as find_one
from storage.backups.backup import BACKUP
from storage.database.columns import utc_now
from storage.database.database import open_database
from storage.database.tables import HeartbeatRow
from storage.models.base_model import resolve_base_model
from storage.models.hardware import serving_format
from storage.models.openvino.graph_cache import graph_folder, verdict_file
from storage.models.openvino.recipes import GraphVerdict, write_verdict
from storage.operations.alerts import record_alerts
from storage.personalities.personalities import ensure_personality, read_personality
from storage.runtime.processes import BOT, TRAINER, record_heartbeat, worker_name
from storage.runtime.redaction import Redactor
from storage.servers import ServerChoices, apply_setup
from tests.families import build_family
from tests.seeding import add_reply
from tests.tiny_model import build_tiny_base


@pytest.fixture
def find(settings):
    """Return the finding of one check of settings with these changes."""

    def look(what, **sections):
        changes = {name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
        checks = dict(list_checks(settings.model_copy(update=changes)))
        return find_one(what, checks[what], Redactor(set()))

    return look


class TestCoherenceModel:
    def test_the_base_may_judge(self, find):
        assert find("Coherence model").message == "the base model itself"

    def test_a_folder_that_is_missing_or_not_a_model_is_reported(self, find, tmp_path):
        missing, empty = (find("Coherence model", gate={"coherence_model": name}) for name in ("/no", str(tmp_path)))
        assert missing.status == "problem"
        assert empty.status == "problem"
        assert missing.message.startswith("gate.coherence_model = '/no' is not a folder")
        assert empty.message == f"{tmp_path / 'config.json'} is missing: a complete model folder is needed"

    def test_a_sound_folder_is_well(self, find, tmp_path):
        found = find("Coherence model", gate={"coherence_model": str(build_tiny_base(tmp_path / "judge"))})
        assert found.status == "ok"
        assert found.message.startswith("judge (revision ")

    def test_nothing_is_fetched_from_the_hub(self, find):
        found = find("Coherence model", gate={"coherence_model": "somebody/some-model"})
        assert (found.status == "ok", found.message) == (
            True,
            "somebody/some-model, which the first round downloads from the Hub (not checked)",
        )


class TestChatTemplate:
    @pytest.fixture
    def look(self, find, tmp_path):
        """Return what is said of this family's base with these settings."""

        def look(family, generation=None, **model):
            folder = tmp_path / family
            if not folder.exists():
                build_family(family, folder)
            return find("Chat template", model={"base": str(folder)} | model, generation=generation or {})

        return look

    def test_it_says_what_was_found(self, look):
        told = "the system prompt has its own turn; answers end with <|im_end|>"
        assert look("qwen2").message == f"{told}; it does not ask the model to think"
        assert look("qwen3").message == f"{told}; thinking is off"
        thinks = look("qwen3", {"max_thought_tokens": 100}, template_options={"enable_thinking": True})
        limit = "up to generation.max_thought_tokens = 100 tokens, never shown"
        assert thinks.message == f"{told}; the model thinks before each answer: {limit}"
        folded = "the system prompt begins the first message, because the template refuses it"
        assert look("gemma2").message == (
            f"{folded}; answers end with <end_of_turn>; it does not ask the model to think"
        )

    def test_a_model_that_always_thinks_is_a_hint(self, look):
        found = look("r1_distil", {"max_thought_tokens": 100})
        assert found.status == "hint"
        assert "thinks before each answer, which its template cannot switch off: up to" in found.message

    def test_an_option_without_effect_is_a_hint(self, look):
        found = look("qwen2", template_options={"enable_thinking": False})
        assert found.status == "hint"
        assert "the chat template does not know enable_thinking: check the spelling in model.tem" in found.message

    def test_a_context_without_room_for_a_thought_names_the_settings(self, look):
        found = look("r1_distil")
        assert found.status == "problem"
        assert found.message.endswith(
            "cannot be used: its context window of 512 tokens leaves no room for a prompt with "
            "generation.max_new_tokens = 256 and generation.max_thought_tokens = 1024: "
            "raise model.context_tokens if it supports more, or lower them"
        )

    def test_a_context_shorter_than_the_system_prompt_names_the_settings(self, look):
        found = look("qwen2", {"max_new_tokens": 60}, context_tokens=64)
        assert (found.status, found.message) == (
            "problem",
            "chat.system_prompt leaves no room for a message: raise model.context_tokens = 64, lower "
            "generation.max_new_tokens = 60, or shorten it",
        )

    def test_a_base_with_a_short_context_names_what_helps(self, find, tmp_path):
        short = build_tiny_base(tmp_path / "short", 80)
        for max_new_tokens, remedy in (
            (60, "choose a base with a longer context, lower generation.max_new_tokens = 60, or shorten chat.system_"),
            (256, "choose a base with a longer context, or lower generation.max_new_tokens"),
        ):
            settings = {"model": {"base": str(short)}, "generation": {"max_new_tokens": max_new_tokens}}
            found = find("Chat template", **settings)
            assert (found.status, remedy in found.message) == ("problem", True), found.message


class TestEngine:
    CUT = "; conversations are cut to the base model's 512 tokens"

    @pytest.fixture
    def tiny(self, tmp_path):
        return build_tiny_base(tmp_path / "tiny")

    def test_the_engine_and_its_context_are_reported(self, find, tiny):
        found = find("Engine", model={"base": str(tiny)})
        assert (found.status == "ok", found.message) == (
            True,
            f"OpenVINO; the next start first checks it against transformers{self.CUT}",
        )
        slow = find("Engine", model={"base": str(tiny), "engine": "transformers", "dtype": "float32"})
        assert slow.message == f"transformers, in float32, on the CPU{self.CUT}"

    def test_the_way_that_was_chosen_for_the_base_is_explained(self, find, settings, tiny):
        base = resolve_base_model(str(tiny), settings.data.directory)
        file = verdict_file(graph_folder(base, settings.data.directory), serving_format(settings.model))
        file.parent.mkdir(parents=True)
        write_verdict(file, GraphVerdict(recipe="W4A8", why="1.9 times as fast as 8-bit weights"))
        assert find("Engine", model={"base": str(tiny)}).message == (
            "OpenVINO, 4-bit weights and 8-bit activations (1.9 times as fast as 8-bit weights); to measure again, "
            f"delete {file}{self.CUT}"
        )

    def test_doctor_reports_a_base_that_openvino_cannot_serve(self, find, tiny):
        config = json.loads((tiny / "config.json").read_text())
        (tiny / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
        auto, openvino = (find("Engine", model={"base": str(tiny), "engine": name}) for name in ("auto", "openvino"))
        assert auto.status == "ok"
        assert (
            "on the CPU, more slowly, because OpenVINO cannot run this base model (its activation is gelu)"
            in auto.message
        )
        assert openvino.status == "problem"
        assert (
            'OpenVINO cannot run this base model (its activation is gelu): set model.engine = "auto"'
            in openvino.message
        )

    def test_doctor_reports_weights_that_only_a_server_can_use(self, find, tiny):
        config = json.loads((tiny / "config.json").read_text())
        (tiny / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
        base, engine, training = (
            find(what, model={"base": str(tiny)}) for what in ("Base model", "Engine", "Training")
        )
        assert (engine.status, training.status) == ("problem", "hint")
        assert base.message == engine.message
        assert 'only a remote server can serve (model.engine = "remote")' in engine.message
        assert training.message.startswith("no rounds: the weights of tiny are quantised already (gptq)")

    def test_doctor_reports_a_bot_that_uses_a_fallback_engine(self, find, settings, tiny):
        worker = worker_name(settings.data.directory)
        state = EngineState(name="transformers", fallback="OpenVINO cannot be imported")
        disk = HealthCheck("disk", True, "")
        with closing(open_database(settings)) as database, database.transaction() as session:
            record_alerts(session, worker, local_alerts(disk, state, ()))
        assert find("Engine", model={"base": str(tiny)}).status == "ok", "no bot runs"
        with closing(open_database(settings)) as database, database.transaction() as session:
            record_heartbeat(session, BOT, worker)
        found = find("Engine", model={"base": str(tiny)})
        assert (found.status, found.message) == (
            "problem",
            "transformers answers instead of OpenVINO, more slowly: OpenVINO cannot be imported; fix that and restart "
            'the bot, or set model.engine = "transformers" to accept it',
        )


class TestAnnouncements:
    def test_a_channels_id_is_shown(self, find):
        assert find("Announcements").message == "off (release.announce_channel = 0)"
        found = find("Announcements", release={"announce_channel": 1_456_074_443_980_800_015})
        assert (found.status == "ok", found.message) == (True, "in channel 1456074443980800015")

    @pytest.mark.parametrize("channel", [7, 10**15, 10**20])
    def test_an_invalid_id_is_reported(self, find, channel):
        found = find("Announcements", release={"announce_channel": channel})
        assert found.status == "problem"
        assert f"release.announce_channel contains {channel}, which is not a Discord ID" in found.message


def test_suites_are_listed_and_a_broken_one_is_a_problem(find, tmp_path):
    shipped = find("Suites")
    assert (shipped.status, "knowledge (" in shipped.message) == ("ok", True)
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"id": "a", "prompt": "Hello?", "must": ["hi"]}\n{"id": \n')
    found = find("Suites", gate={"suites": (cases,)})
    assert found.status == "problem"
    assert f"{cases}, line 2: not valid JSON" in found.message


class TestAccess:
    ID = 1456074443980800017

    def test_an_operator_reads_that_nobody_is_served_yet(self, find):
        found = find("Access", access={"servers": ()})
        assert found.status == "problem"
        assert found.message.startswith("the bot serves nobody, because access.servers is empty: run `reactune init`")

    def test_the_served_servers_and_roles_are_reported(self, find):
        found = find("Access", access={"servers": (self.ID,), "roles": (self.ID,)})
        assert (found.status == "ok", found.message) == (True, "1 server, only 1 role, direct messages too")

    def test_an_invalid_id_is_named(self, find):
        found = find("Access", access={"servers": (self.ID,), "channels": (12,)})
        assert found.status == "problem"
        assert found.message.startswith("access.channels contains 12, which is not a Discord ID")
        found = find("Access", access={"servers": (self.ID,)}, chat={"channel_rules": {12: "always"}})
        assert found.message.startswith("chat.channel_rules contains 12, which is not a Discord ID")


class TestServers:
    ID = 1456074443980800017

    def test_those_with_choices_of_their_own_are_listed(self, find, settings):
        assert find("Servers").message == "none has used /setup, so these settings hold in all"
        with closing(open_database(settings)) as database, database.transaction() as session:
            default = read_personality(session, ensure_personality(session))
            apply_setup(session, self.ID, ServerChoices(), default, expected_generation=0, by="grace")
        found = find("Servers", access={"servers": (self.ID,)})
        assert (found.status, found.message) == ("ok", f"1 server with choices of its own: {self.ID} (by grace)")
        found = find("Servers", access={"servers": (self.ID + 1,)})
        assert found.message == f"server {self.ID} was set up by grace, but access.servers does not list it"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.threat("T71")
def test_a_data_folder_that_others_can_read_is_reported_with_the_remedy(find, settings):
    folder = settings.data.directory
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert find("Permissions").status == "ok"
    (folder / "reactune.db").chmod(0o644)
    found = find("Permissions")
    assert found.status == "problem"
    assert f"can read {folder / 'reactune.db'}" in found.message
    assert f"chmod -R go= {folder}" in found.message


class TestAdapterStore:
    def test_a_store_that_can_be_written_is_named(self, find, settings, tmp_path):
        assert find("Adapter store").message == f"the folder {settings.data.directory / 'adapters'}"
        url = (tmp_path / "shared").as_uri()
        shared = find("Adapter store", data={"adapters": url})
        assert (shared.status == "ok", shared.message) == (
            True,
            f"{url}, which is writable; the cache is {settings.data.directory / 'adapters'}",
        )
        assert list((tmp_path / "shared").iterdir()) == []

    def test_an_unusable_store_is_reported_with_a_remedy(self, find, tmp_path):
        (tmp_path / "file").touch()
        found = find("Adapter store", data={"adapters": (tmp_path / "file").as_uri()})
        assert found.status == "problem"
        assert "check the network, data.adapters and the store's credentials" in found.message


class TestTrainer:
    def test_running_trainers_are_named_with_their_age(self, find, settings):
        with closing(open_database(settings)) as database, database.transaction() as session:
            for name in ("gpu1:/data#01ab", "gpu2:/data#23cd"):
                record_heartbeat(session, TRAINER, name)
        assert re.fullmatch(r"gpu1:/data \(seen \d s ago\), gpu2:/data \(seen \d s ago\)", find("Trainer").message)

    def test_a_trainer_that_never_ran_is_a_hint_and_one_that_stopped_is_a_problem(self, find, settings):
        never_ran = find("Trainer")
        assert (never_ran.status, never_ran.message[:24]) == ("hint", "no trainer has run yet: ")
        with closing(open_database(settings)) as database, database.transaction() as session:
            long_ago = utc_now() - timedelta(days=1)
            session.add(HeartbeatRow(process=TRAINER, worker="gpu1:/data#01ab", beat_at=long_ago))
        stopped = find("Trainer")
        assert (stopped.status, stopped.message[:23]) == ("problem", "no trainer is running: ")


class TestBackups:
    @pytest.fixture
    def back_up(self, settings):
        """Note that a backup was made so many days ago."""

        def note(days):
            with closing(open_database(settings)) as database, database.transaction() as session:
                made_at = utc_now() - timedelta(days=days)
                session.merge(HeartbeatRow(process=BACKUP, worker="here:/data#01ab", beat_at=made_at))

        return note

    def test_none_yet_is_a_hint_once_there_is_something_to_back_up(self, find, settings):
        nothing = find("Backups")
        assert (nothing.status, nothing.message) == ("ok", "nothing to back up yet")
        with closing(open_database(settings)) as database, database.transaction() as session:
            ensure_personality(session)
            add_reply(session)
        none_yet = find("Backups")
        assert (none_yet.status, none_yet.message[:15]) == ("hint", "no backup yet: ")

    def test_an_old_one_is_a_problem(self, find, back_up):
        back_up(days=6)
        assert find("Backups").status == "ok"
        back_up(days=9)
        old = find("Backups")
        assert (old.status, old.message[:32]) == ("problem", "the last backup is 9 days old: r")


class TestSummary:
    def test_an_unexpected_error_is_a_problem_without_its_secrets(self):
        def check():
            raise ConnectionResetError("pass-word was refused\nat line 2")

        found = find_one("Token", check, Redactor({"pass-word"}))
        assert (found.status, found.message) == ("problem", "the check failed: ConnectionResetError: *** was refused")

    def test_problems_are_listed_again_by_number_and_hints_are_not(self):
        findings = [
            Finding("Token", FindingStatus.PROBLEM, "not set: set it"),
            Finding("Disk", FindingStatus.OK, "9 GB free"),
            Finding("Backups", FindingStatus.HINT, "no backup yet"),
            Finding("Access", FindingStatus.PROBLEM, "serves nobody: name a server"),
        ]
        assert describe_findings(findings).splitlines() == [
            "✗ **Token:** not set: set it",
            "✓ **Disk:** 9 GB free",
            "– **Backups:** no backup yet",
            "✗ **Access:** serves nobody: name a server",
            "",
            "**2 things to fix**",
            "",
            "1. **Token:** not set: set it",
            "2. **Access:** serves nobody: name a server",
        ]

    def test_checks_that_fail_for_one_reason_are_one_thing_to_fix(self):
        findings = [Finding(what, FindingStatus.PROBLEM, "no model there") for what in ("Base model", "Engine")]
        assert describe_findings(findings).splitlines()[-3:] == [
            "**1 thing to fix**",
            "",
            "1. **Base model, Engine:** no model there",
        ]

    def test_without_problems_all_is_good(self):
        text = describe_findings(
            [Finding("Disk", FindingStatus.OK, "9 GB free"), Finding("Backups", FindingStatus.HINT, "none")]
        )
        assert text.splitlines()[-1] == "All good."
