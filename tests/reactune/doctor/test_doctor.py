"""The doctor finds what an operator got wrong before a round or a release does."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing

import pytest

from bot.engine import EngineState
from bot.operations.alerts import local_alerts
from bot.operations.health import HealthCheck
from reactune.doctor.doctor import run_checks
from storage.database.database import open_database
from storage.errors import SettingsError
from storage.operations.alerts import record_alerts
from storage.runtime.processes import BOT, TRAINER, record_heartbeat, worker_name
from tests.tiny_model import build_tiny_base


@pytest.fixture
def find(settings):
    """Return what the doctor says of settings with these changes, {what: finding}."""

    def look(further=(), **sections):
        changes = {name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
        model = settings.model.model_copy(update={"base": "/nowhere"})  # unless the base is what is asked about
        return {f.what: f for f in run_checks(settings.model_copy(update={"model": model} | changes), further)}

    return look


class TestCoherenceModel:
    def test_the_base_may_judge(self, find):
        assert find()["Coherence model"].says == "the base model itself"

    def test_a_folder_that_is_not_there_or_no_model_is_told(self, find, tmp_path):
        missing, empty = (find(gate={"coherence_model": name})["Coherence model"] for name in ("/no", str(tmp_path)))
        assert not missing.is_well
        assert not empty.is_well
        assert missing.says.startswith("gate.coherence_model = '/no' is not a folder")
        assert empty.says == f"{tmp_path / 'config.json'} is missing: a complete model folder is needed"

    def test_a_sound_folder_is_well(self, find, tmp_path):
        found = find(gate={"coherence_model": str(build_tiny_base(tmp_path / "judge"))})["Coherence model"]
        assert found.is_well
        assert found.says.startswith("judge (revision ")

    def test_nothing_is_fetched_from_the_hub(self, find):
        found = find(gate={"coherence_model": "somebody/some-model"})["Coherence model"]
        assert (found.is_well, found.says) == (
            True,
            "somebody/some-model: no folder here, so a hub id, which the first round fetches; not checked",
        )


class TestEngine:
    CUT = "; conversations are cut to the 512 tokens that the base knows"

    @pytest.fixture
    def tiny(self, tmp_path):
        return build_tiny_base(tmp_path / "tiny")

    def test_who_answers_and_how_much_they_read_is_told(self, find, tiny):
        found = find(model={"base": str(tiny)})["Engine"]
        assert (found.is_well, found.says) == (
            True,
            f"OpenVINO; the next start first compares it with transformers{self.CUT}",
        )
        slow = find(model={"base": str(tiny), "engine": "transformers", "dtype": "float32"})["Engine"]
        assert slow.says == f"transformers, in float32, on the CPU{self.CUT}"

    def test_a_base_that_openvino_cannot_serve_is_told_before_the_bot_starts(self, find, tiny):
        config = json.loads((tiny / "config.json").read_text())
        (tiny / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
        auto, openvino = (find(model={"base": str(tiny), "engine": name})["Engine"] for name in ("auto", "openvino"))
        assert auto.is_well
        assert "on the CPU: OpenVINO cannot serve this base (its activation is gelu)" in auto.says
        assert not openvino.is_well
        assert 'OpenVINO cannot serve this base (its activation is gelu): set model.engine = "auto"' in openvino.says

    def test_a_bot_that_answers_with_another_engine_is_told(self, find, settings, tiny):
        worker = worker_name(settings.data.directory)
        state = EngineState(name="transformers", fallback="OpenVINO cannot be imported")
        disk = HealthCheck("disk", True, "")
        with closing(open_database(settings)) as database, database.transaction() as session:
            record_alerts(session, worker, local_alerts(disk, state, ()))
        assert find(model={"base": str(tiny)})["Engine"].is_well, "no bot runs"
        with closing(open_database(settings)) as database, database.transaction() as session:
            record_heartbeat(session, BOT, worker)
        found = find(model={"base": str(tiny)})["Engine"]
        assert (found.is_well, found.says) == (
            False,
            "transformers answers instead of OpenVINO, more slowly: OpenVINO cannot be imported; fix that and restart "
            'the bot, or set model.engine = "transformers" to accept it',
        )


class TestAnnouncements:
    def test_a_channels_id_is_shown(self, find):
        assert find()["Announcements"].says == "off: release.announce_channel is 0"
        found = find(release={"announce_channel": 1_456_074_443_980_800_015})["Announcements"]
        assert (found.is_well, found.says) == (True, "in channel 1456074443980800015")

    @pytest.mark.parametrize("channel", [7, 10**15, 10**20])
    def test_what_can_be_no_id_is_told(self, find, channel):
        found = find(release={"announce_channel": channel})["Announcements"]
        assert not found.is_well
        assert f"release.announce_channel holds {channel}, which is no id" in found.says


def test_the_caller_may_look_at_more(find):
    def wrong() -> str:
        raise SettingsError("cases.jsonl, line 3: this is no JSON")

    found = find([("Suites", wrong), ("Weather", lambda: "fine")])
    assert (found["Suites"].is_well, found["Suites"].says) == (False, "cases.jsonl, line 3: this is no JSON")
    assert (found["Weather"].is_well, found["Weather"].says) == (True, "fine")


class TestAccess:
    ID = 1456074443980800017

    def test_an_operator_reads_that_nobody_is_served_yet(self, find):
        found = find(access={"servers": ()})["Access"]
        assert not found.is_well
        assert found.says.startswith("nobody is served: access.servers is empty. Start the bot and invite it; its log")

    def test_whom_it_serves_is_told(self, find):
        found = find(access={"servers": (self.ID,), "roles": (self.ID,)})["Access"]
        assert (found.is_well, found.says) == (True, "1 server, only 1 role, direct messages of their members too")

    def test_what_is_no_id_is_named(self, find):
        found = find(access={"servers": (self.ID,), "channels": (12,)})["Access"]
        assert not found.is_well
        assert found.says.startswith("access.channels holds 12, which is no id")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_a_data_folder_that_others_may_read_is_told_with_the_remedy(find, settings):
    folder = settings.data.directory
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert find()["Permissions"].is_well
    (folder / "reactune.db").chmod(0o644)
    found = find()["Permissions"]
    assert not found.is_well
    assert f"may read {folder / 'reactune.db'}" in found.says
    assert f"chmod -R go= {folder}" in found.says


class TestAdapterStore:
    def test_a_store_that_can_be_written_is_named(self, find, settings, tmp_path):
        assert find()["Adapter store"].says == f"the folder {settings.data.directory / 'adapters'}"
        url = (tmp_path / "shared").as_uri()
        shared = find(data={"adapters": url})["Adapter store"]
        assert (shared.is_well, shared.says) == (
            True,
            f"{url}, which is writable; the cache is {settings.data.directory / 'adapters'}",
        )
        assert list((tmp_path / "shared").iterdir()) == []

    def test_a_store_that_cannot_be_used_is_told_with_a_remedy(self, find, tmp_path):
        (tmp_path / "file").touch()
        found = find(data={"adapters": (tmp_path / "file").as_uri()})["Adapter store"]
        assert not found.is_well
        assert "check the network, data.adapters and the store's credentials" in found.says


class TestTrainer:
    def test_those_that_live_are_named_with_their_age(self, find, settings):
        assert find()["Trainer"].says.startswith("no trainer runs")
        with closing(open_database(settings)) as database, database.transaction() as session:
            for name in ("gpu1:/data#01ab", "gpu2:/data#23cd"):
                record_heartbeat(session, TRAINER, name)
        assert re.fullmatch(r"gpu1:/data \(\d s ago\), gpu2:/data \(\d s ago\)", find()["Trainer"].says)
