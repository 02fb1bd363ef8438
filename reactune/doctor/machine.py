"""Checks of this machine: packages, memory, files, clock, GPU and ports."""

from __future__ import annotations

import json
import math
import os
import socket
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from sqlalchemy import text

from bot.console.signin import require_whole_sign_in
from bot.operations.health import disk_check
from reactune.doctor.findings import Hint, Problem
from reactune.shared import reading, this_machine
from storage.models.hardware import has_gpu
from storage.operations.console_sessions import digest_of
from storage.runtime.log_setup import log_file
from storage.runtime.redaction import OWNER_ONLY
from storage.settings.sections import LogSettings, MetricsSettings, Settings

DISCORD = "https://discord.com/api/v10/gateway"
DISCORD_TIMEOUT_S = 10.0
MAX_CLOCK_DIFFERENCE = timedelta(seconds=30)
HEALTH_TIMEOUT_S = 1.0
CONSOLE_TIMEOUT_S = 10.0
OPTIONAL = {"postgres": "PostgreSQL", "s3": "S3", "qlora": "4-bit training", "demo": "the demo"}
"""{extra: its purpose}. The other extras are for contributors."""
MIN_OPEN_FILES = 1024
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def check_clock(settings: Settings) -> str:
    """Compare the clocks that can be read; raises Problem if one differs too much from this machine's."""
    times = {"the database": database_time(settings)}
    if settings.discord_token is not None:
        times["Discord"] = discord_time()
    found = [describe_difference(name, time - datetime.now(UTC)) for name, time in times.items() if time is not None]
    return "; ".join(found) or "no other clock to compare with"


def describe_difference(name: str, difference: timedelta) -> str:
    seconds = difference.total_seconds()
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        raise Problem(
            f"this machine's clock is {abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'} {name}'s: "
            "synchronize it (`timedatectl set-ntp true`), because schedules and account ages depend on it"
        )
    return f"within {math.ceil(abs(seconds))} s of {name}'s"


def database_time(settings: Settings) -> datetime | None:
    """Return the database server's time; None for SQLite, which has no clock."""
    if settings.database_url.startswith("sqlite"):
        return None
    with reading(settings) as session:
        found: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return found


def discord_time() -> datetime | None:
    try:
        with urllib.request.urlopen(DISCORD, timeout=DISCORD_TIMEOUT_S) as answer:
            return parsedate_to_datetime(answer.headers["Date"])
    except urllib.error.HTTPError as error:
        return parsedate_to_datetime(error.headers["Date"])
    except (OSError, TypeError, ValueError):
        return None


def check_packages(distribution: str = "reactune") -> str:
    """Return the missing optional packages; raises Problem with a command if a required one is missing."""
    missing = list(problems(distribution, extra=""))
    if missing:
        raise Problem(f"{'; '.join(missing)}: run `pip install --upgrade {distribution}` in this environment")
    optional = [use for extra, use in OPTIONAL.items() if list(problems(distribution, extra))]
    return "all required packages" + (f"; optional, not installed: {', '.join(optional)}" if optional else "")


def problems(distribution: str, extra: str) -> Iterator[str]:
    """Yield each package that the extra needs and that is missing or has the wrong version."""
    for line in requires(distribution) or ():
        needed = Requirement(line)
        is_wanted = not extra if needed.marker is None else extra and needed.marker.evaluate({"extra": extra})
        if not is_wanted:
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            yield f"{needed.name} is not installed"
            continue
        if not needed.specifier.contains(found, prereleases=True):
            yield f"{needed.name} {found} is installed, but {needed.specifier} is needed"


def check_open_files() -> str:
    if sys.platform == "win32":
        return "no limit on this system"
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < MIN_OPEN_FILES:
        raise Problem(
            f"a process can open only {limit} files, but needs {MIN_OPEN_FILES}: raise `ulimit -n`, or LimitNOFILE in "
            "the systemd unit"
        )
    return "unlimited" if limit == resource.RLIM_INFINITY else f"up to {limit}"


def check_gpu() -> str:
    """Return the GPU's name; raises Problem if there is an NVIDIA GPU that PyTorch cannot use."""
    if has_gpu():
        import torch

        return torch.cuda.get_device_name()
    if NVIDIA_DRIVER.exists():
        raise Problem(_mismatch(NVIDIA_DRIVER.read_text(encoding="utf-8").splitlines()[0]))
    return "none; models run on the CPU"


def _mismatch(driver: str) -> str:
    import torch

    built_for = torch.version.cuda
    if built_for is None:
        return (
            "there is an NVIDIA GPU, but this PyTorch only supports CPUs: run `pip install --force-reinstall torch`, "
            "or continue with the CPU"
        )
    return (
        f"there is an NVIDIA GPU, but PyTorch {torch.__version__} (CUDA {built_for}) cannot use it with this driver "
        f"({driver}): update the driver, or check `nvidia-smi`; in a container, pass the GPU through"
    )


def check_pages(settings: MetricsSettings) -> str:
    """Check that the bot serves its metrics and health pages, or could."""
    if not settings.port:
        return "off (metrics.port = 0)"
    url = f"http://{settings.host}:{settings.port}"
    if _is_ours(f"{url}/health/live"):
        return f"served on {url}"
    try:
        family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        with socket.create_server((settings.address, settings.port), family=family):
            return f"{url} is free"
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Problem(
            f"{settings.address} port {settings.port} cannot be opened ({reason}): another program uses it, or it is "
            "not an address of this machine; change metrics.port or metrics.address, or set the port to 0 to disable "
            "the pages"
        ) from error


def _is_ours(url: str) -> bool:
    try:
        with this_machine.open(url, timeout=HEALTH_TIMEOUT_S) as answer:
            return bool(json.load(answer) == {"live": True})
    except (OSError, ValueError, HTTPException):  # HTTPException: not an address, or not a web server
        return False


def check_console(settings: Settings) -> str:
    """Check that the console's public address leads to it, if it has one."""
    require_whole_sign_in(settings)
    address = settings.console.public_url
    if not address:
        return "on this machine, for the operator" if settings.console.port else "off (console.port = 0)"
    try:
        with urllib.request.urlopen(f"{address}/alive", timeout=CONSOLE_TIMEOUT_S) as answer:
            found = json.load(answer)
            is_ours, seen_as = found["database"] == digest_of(settings), found["address"]
    except (OSError, ValueError, TypeError, KeyError, HTTPException) as error:
        raise Hint(
            f"{address} does not lead to the console ({error}): start the bot, and look at the reverse proxy "
            "(docs/console.md)"
        ) from error
    if not is_ours:
        raise Problem(f"{address} leads to the console of another bot: look at the reverse proxy")
    if seen_as != address:
        raise Problem(f"the reverse proxy of {address} must hand on the Host header (docs/console.md)")
    return f"admins sign in with Discord on {address}"


def check_log_file(settings: LogSettings) -> str:
    path = log_file(settings, "bot")
    if path is None:
        return "standard error only"
    folder = next(folder for folder in (path.parent, *path.absolute().parents) if folder.exists())
    try:
        probe = folder / f".{path.name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Problem(f"logs.file: {folder} is not writable ({error.strerror}): choose another folder") from error
    return f"standard error and {path}"


def check_disk(directory: Path, min_free_gb: float) -> str:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(
            f"{directory} cannot be created ({error.strerror}): set data.directory to another folder"
        ) from error
    if not os.access(directory, os.W_OK):
        raise Problem(f"{directory} is not writable: change its owner, or set data.directory to another folder")
    disk = disk_check(directory, min_free_gb)
    if not disk.ok:
        raise Problem(f"{disk.message} in {directory}: free some space, or set data.directory to another disk")
    return f"{disk.message} in {directory}"


def check_permissions(directory: Path) -> str:
    """Check that other users of this machine cannot read members' messages; Windows has no such file modes."""
    if os.name != "posix":
        return "not checked on this system"
    if not directory.exists():
        return "no data folder yet"
    own = [directory, *directory.glob("*.db*"), *directory.glob("adapters")]
    open_to_others = [path for path in own if stat.S_IMODE(path.stat().st_mode) & OWNER_ONLY]
    if open_to_others:
        raise Problem(
            f"other users of this machine can read {open_to_others[0]}, which holds members' messages: "
            f"run `chmod -R go= {directory}`"
        )
    return "only this user can read the data folder"
