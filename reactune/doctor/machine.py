"""The machine: its memory beside the model, the files that may be open, its graphics processor, its ports."""

from __future__ import annotations

import json
import socket
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from reactune.doctor.checks import Unwell
from storage.models.hardware import has_gpu
from storage.runtime.log_setup import log_file
from storage.settings.sections import LogSettings, MetricsSettings

GB = 1e9
LEAST_OPEN_FILES = 1024
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
MEMORY = Path("/proc/meminfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
MEMORY_USED = Path("/sys/fs/cgroup/memory.current")
WORKING_SHARE = 1.5
"""Of the weights' size: they, and what an answer computes beside them."""
PATIENCE_S = 1.0


def check_memory(base: Path) -> str:
    """Compare what the base model takes with what is free, in this machine or container."""
    needed = WORKING_SHARE * sum(file.stat().st_size for file in base.glob("*.safetensors"))
    free = free_memory()
    if free is None:
        return f"the base model takes about {needed / GB:.1f} GB; this system does not say how much is free"
    if free < needed:
        raise Unwell(
            f"{free / GB:.1f} GB of memory are free and the base model takes about {needed / GB:.1f} GB: end other "
            "programs, raise the container's limit, or choose a smaller model.base (where the bot runs, it has taken "
            "its part already)"
        )
    return f"{free / GB:.1f} GB free; the base model takes about {needed / GB:.1f} GB"


def free_memory() -> float | None:
    """Return the bytes that may still be taken, or None where the system does not say."""
    if not MEMORY.exists():
        return None
    lines = (line.split() for line in MEMORY.read_text(encoding="ascii").splitlines())
    free = next((1024.0 * int(words[1]) for words in lines if words[0] == "MemAvailable:"), None)
    limit = MEMORY_LIMIT.read_text(encoding="ascii").strip() if MEMORY_LIMIT.exists() else "max"
    if free is None or limit == "max":
        return free
    return min(free, int(limit) - int(MEMORY_USED.read_text(encoding="ascii")))


def check_open_files() -> str:
    if sys.platform == "win32":
        return "this system has no limit"
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < LEAST_OPEN_FILES:
        raise Unwell(
            f"a process may have only {limit} files open, {LEAST_OPEN_FILES} are needed: raise `ulimit -n`, or "
            "LimitNOFILE in the unit"
        )
    return "without limit" if limit == resource.RLIM_INFINITY else f"up to {limit}"


def check_gpu() -> str:
    """Say whether PyTorch can use the graphics processor that is there."""
    if has_gpu():
        import torch

        return torch.cuda.get_device_name()
    if NVIDIA_DRIVER.exists():
        raise Unwell(_mismatch(NVIDIA_DRIVER.read_text(encoding="utf-8").splitlines()[0]))
    return "none; the CPU computes"


def _mismatch(driver: str) -> str:
    import torch

    built_for = torch.version.cuda
    if built_for is None:
        return (
            "there is an NVIDIA GPU, but PyTorch is built for CPUs alone: reinstall it from pip's own index "
            "(`pip install --force-reinstall torch`), or go on with the CPU"
        )
    return (
        f"there is an NVIDIA GPU, but PyTorch {torch.__version__} (CUDA {built_for}) cannot use it with this driver "
        f"({driver}): update the driver, or see `nvidia-smi`; in a container, pass the GPU through"
    )


def check_pages(settings: MetricsSettings) -> str:
    """Say whether the bot serves its pages, or could."""
    if not settings.port:
        return "off: metrics.port is 0"
    url = f"http://{settings.host}:{settings.port}"
    if _is_ours(f"{url}/health/live"):
        return f"served on {url}"
    try:
        family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        with socket.create_server((settings.address, settings.port), family=family):
            return f"{url} is free for them"
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Unwell(
            f"{settings.address} port {settings.port} cannot be opened ({reason}): another program has it, or it is no "
            "address of this machine; set metrics.port or metrics.address to others, or the port to 0 for none"
        ) from error


def _is_ours(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return bool(json.load(answer) == {"live": True})
    except (OSError, ValueError, HTTPException):  # the last: no address, or no web server
        return False


def check_log_file(settings: LogSettings) -> str:
    path = log_file(settings, "bot")
    if path is None:
        return "on standard error alone"
    folder = next(folder for folder in (path.parent, *path.absolute().parents) if folder.exists())
    try:
        probe = folder / f".{path.name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Unwell(f"logs.file: {folder} cannot be written ({error.strerror}): choose another place") from error
    return f"on standard error and in {path}"
