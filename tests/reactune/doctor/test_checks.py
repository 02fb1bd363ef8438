"""The doctor's look at the machine: packages, memory, files, clocks and ports."""

from __future__ import annotations

import json
import socket
from contextlib import closing, nullcontext
from datetime import timedelta
from importlib.metadata import requires

import pytest

from reactune.doctor.findings import Hint, Problem
from reactune.doctor.machine import (
    check_clock,
    check_console,
    check_log_file,
    check_open_files,
    check_packages,
    check_pages,
    describe_difference,
    problems,
)
from storage.errors import SettingsError
from storage.operations.console_sessions import digest_of
from storage.settings.loading import load_settings
from storage.settings.sections import LogSettings, MetricsSettings
from tests.reactune.answering import answering


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """A package that needs what is not there, what is too old, and something for an extra."""
    folder = tmp_path / "hungry-1.0.dist-info"
    folder.mkdir()
    needed = [
        "no-such-package",
        "sqlalchemy>=99",
        "pydantic>=2",
        'no-such-extra; extra == "postgres"',
        "tomli; python_version < '3'",
    ]
    lines = ["Metadata-Version: 2.1", "Name: hungry", "Version: 1.0", *(f"Requires-Dist: {line}" for line in needed)]
    (folder / "METADATA").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "hungry"


def test_missing_or_old_packages_are_reported_with_the_command(distribution):
    with pytest.raises(Problem) as raised:
        check_packages(distribution)
    said = str(raised.value)
    assert said.startswith("no-such-package is not installed; sqlalchemy 2.")
    assert said.endswith("is installed, but >=99 is needed: run `pip install --upgrade hungry` in this environment")
    assert list(problems(distribution, "postgres")) == ["no-such-extra is not installed"]


def test_our_own_packages_are_there():
    assert requires("reactune")
    assert check_packages().startswith("all required packages")


def test_a_low_limit_of_open_files_is_reported():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with pytest.raises(Problem, match=r"can open only 512 files, but needs 1024: raise `ulimit -n`"):
            check_open_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_wrong_clock_is_reported():
    assert describe_difference("Discord", timedelta(seconds=-2)) == "within 2 s of Discord's"
    with pytest.raises(Problem, match="this machine's clock is 90 s behind Discord's: synchronize it"):
        describe_difference("Discord", timedelta(seconds=90))


def test_sqlite_has_no_clock(settings):
    assert check_clock(settings) == "no other clock to compare with"


def test_a_port_used_by_another_program_is_reported():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Problem, match=f"127.0.0.1 port {port} cannot be opened"):
            check_pages(MetricsSettings(port=port))
    assert check_pages(MetricsSettings(port=port)) == f"http://127.0.0.1:{port} is free"
    assert check_pages(MetricsSettings(port=0)) == "off (metrics.port = 0)"


def test_pages_may_be_at_an_address_of_the_newer_kind():
    with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Problem, match=f"::1 port {port} cannot be opened"):
            check_pages(MetricsSettings(address="::1", port=port))
    assert check_pages(MetricsSettings(address="::1", port=port)) == f"http://[::1]:{port} is free"


def test_pages_of_a_running_bot_are_found_past_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering() as server:
        server.said = json.dumps({"live": True})
        assert check_pages(MetricsSettings(port=server.server_port)) == f"served on {server.url}"


@pytest.mark.parametrize("address", ["not an address", "a" * 70, "a.invalid/\n"])
def test_an_invalid_metrics_address_is_reported(address):
    with pytest.raises(Problem, match=r"cannot be opened .*: another program uses it, or it is not an address"):
        check_pages(MetricsSettings(address=address))


def test_the_consoles_public_address_must_lead_to_this_console():
    with answering() as server:
        address = server.url
        settings = load_settings(
            environment={"REACTUNE_CONSOLE__PUBLIC_URL": address, "DISCORD_CLIENT_SECRET": "not-shown"}
        )
        ours, other = digest_of(settings), "http://127.0.0.1:8791"
        for said, outcome in (
            ({"database": ours, "address": address}, None),
            ({"database": ours, "address": other}, "must hand on the Host header"),
            ({"database": "x", "address": address}, "leads to the console of another bot"),
            ([], "does not lead to the console"),
        ):
            server.said = json.dumps(said)
            with nullcontext() if outcome is None else pytest.raises((Problem, Hint), match=outcome):
                assert check_console(settings) == f"admins sign in with Discord on {address}"
    with pytest.raises(Hint, match=f"{address} does not lead to the console"):
        check_console(settings)
    with pytest.raises(SettingsError, match="DISCORD_CLIENT_SECRET is not"):
        check_console(load_settings(environment={"REACTUNE_CONSOLE__PUBLIC_URL": address}))
    assert check_console(load_settings(environment={})) == "on this machine, for the operator"


def test_a_log_file_that_cannot_be_written_is_reported(tmp_path):
    assert check_log_file(LogSettings(file=str(tmp_path / "new" / "reactune.log"))).endswith("reactune.bot.log")
    (tmp_path / "taken").touch()
    with pytest.raises(Problem, match=r"logs\.file: .*choose another folder"):
        check_log_file(LogSettings(file=str(tmp_path / "taken" / "reactune.log")))
