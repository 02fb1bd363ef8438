"""`make gpu-check`: all that needs a GPU, on bases of real sizes with random weights, in one command.

It trains and judges a round and serves its version, in bfloat16 and on 4-bit weights, beside plain TRL, generate() and,
where it is installed, vLLM; and it writes a section for results/bases.md.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.errors import SettingsError
from storage.models.hardware import has_gpu
from tests.benchmarks.bases import GPU_BITS, Sides, measure
from tests.benchmarks.bases_round import Work
from tests.benchmarks.bases_serving import Lengths
from tests.benchmarks.report import notes

SIZES = ("4b", "8b")
TINY = Work(
    pairs=4,
    prompt_tokens=20,
    judges=True,
    lengths=Lengths(answer=6, answers=1, together=2, answer_together=4, long_prompt=200),
)
NO_CARD = "no GPU: tiny bases on the CPU, to test this check"


def run(
    *, size: Sequence[str] | None = None, tiny: bool = False, vllm: str = "vllm", report: Path = Path("gpu-check.md")
) -> dict[str, Any]:
    """Return the card and a report for each size, and append their tables to the file `report`.

    `vllm` is the program; without it, the rest is measured. With `tiny`, every step runs in minutes on a CPU, except
    those on 4-bit weights. Raises SettingsError if something is missing.
    """
    card = {"card": NO_CARD} if tiny else _card()
    program = shutil.which(vllm) or ""
    card["vLLM"] = _last_word(program, "--version") if program else "not installed"
    notes.print(", ".join(f"{name}: {value}" for name, value in card.items()), highlight=False)
    sides = Sides.on_gpu(GPU_BITS, has_vllm=bool(program))
    work = TINY if tiny else Work(judges=True)
    found = []
    for one in ("tiny",) if tiny else size or SIZES:
        found.append(measure(one, sides, work, vllm=program))
        _append(report, _section(card, found[-1]))
        notes.print(f"Added to {report}.", markup=False, highlight=False)
    markdown = "\n\n".join(one["markdown"] for one in found)
    return {"card": card, "bases": found, "report": str(report), "markdown": markdown}


def _card() -> dict[str, Any]:
    """Describe the GPU; raises SettingsError with what is missing."""
    if shutil.which("nvidia-smi") is None:
        raise SettingsError("make gpu-check needs an NVIDIA GPU and its driver, and nvidia-smi is not on this machine")
    import torch

    if torch.version.cuda is None:
        raise SettingsError(
            f"make gpu-check needs a build of PyTorch for NVIDIA GPUs, and {torch.__version__} is none: install one "
            "into .venv from an index with PyTorch's CUDA builds"
        )
    if not has_gpu():
        raise SettingsError("PyTorch cannot use the NVIDIA GPU: see what nvidia-smi says, and CUDA_VISIBLE_DEVICES")
    properties = torch.cuda.get_device_properties(0)
    return {
        "card": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "driver": _last_word("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "torch_cuda": torch.version.cuda,
        "compute_capability": f"{properties.major}.{properties.minor}",
    }


def _last_word(*command: str) -> str:
    """Return what the command says of a version, or "unknown"."""
    try:
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        words = []
    return words[-1] if words else "unknown"


def _section(card: dict[str, Any], found: dict[str, Any]) -> str:
    today = datetime.now(UTC).date().isoformat()
    described = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in card.items())
    software = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    processor = f"{found['machine']['cores']} cores of {found['machine']['processor']}"
    return f"## On a GPU, {today}: {described}\n\n{processor}; {software}.\n\n{found['markdown']}\n"


def _append(file: Path, section: str) -> None:
    before = f"{file.read_text(encoding='utf-8').rstrip()}\n\n" if file.exists() else ""
    file.write_text(before + section, encoding="utf-8")
