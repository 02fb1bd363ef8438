"""The trainer's metrics come from the database, so they count rounds of every trainer."""

from __future__ import annotations

import shutil
import socket
import urllib.request
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage.database.database import open_database
from storage.database.enums import RoundStatus
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import DataSettings, MetricsSettings, Settings
from tests.past import add_round, day
from trainer.metrics import served_metrics


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def database(migrated_file, tmp_path):
    shutil.copyfile(migrated_file, tmp_path / "reactune.db")
    with closing(open_database(Settings(data=DataSettings(directory=tmp_path)))) as opened:
        with opened.transaction() as session:
            ensure_personality(session)
        yield opened


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {" ".join([s.name, *s.labels.values()]): s.value for family in families for s in family.samples}


def test_rounds_are_counted_and_the_running_one_is_shown(database, port):
    with database.transaction() as session:
        add_round(session, 1)
        add_round(session, 2, status=RoundStatus.FAILED)
        add_round(session, 3, status=RoundStatus.RUNNING, progress={"phase": "training", "share": 0.75})
    with served_metrics(MetricsSettings(port=port - 1), database):
        numbers = scrape(port)
    assert numbers["reactune_rounds_total published"] == 1
    assert numbers["reactune_rounds_total failed"] == 1
    assert numbers["reactune_rounds_total skipped"] == 0
    assert (numbers["reactune_round_seconds_count"], numbers["reactune_round_seconds_sum"]) == (2, 7200)
    assert numbers["reactune_round_progress_ratio"] == 0.75
    assert numbers["reactune_round_running_seconds"] > 0
    assert numbers["reactune_rounds_waiting"] == 0
    assert numbers["reactune_round_last_success_timestamp_seconds"] == day(1 + 1 / 24).timestamp()


def test_a_taken_port_is_a_warning_and_no_more(database, caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with served_metrics(MetricsSettings(port=port - 1), database):
            pass
    assert "set metrics.port so that the next port is free too" in caplog.text
