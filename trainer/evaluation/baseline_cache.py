"""What the gate found about the base model, kept in a file so that later rounds need not find it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What was found about one model's answers; a version's are set against the base's."""

    retention_loss: float
    """Nats per token."""
    coherence_losses: tuple[float, ...]
    """Mean loss of its answers' tokens under the coherence model, by position (`losses_by_position`), in nats."""
    degenerate_share: float
    answer_tokens: float
    passed: tuple[tuple[bool, ...], ...]
    """Which cases it passed, suite by suite."""

    @property
    def is_finite(self) -> bool:
        return bool(self.coherence_losses) and all(map(isfinite, (self.retention_loss, *self.coherence_losses)))


def remembered(
    folder: Path, found_with: dict[str, Any], sizes: Sequence[int], find: Callable[[], Findings]
) -> Findings:
    """Return the findings of an earlier call with equal `found_with`, else those of `find`, and keep them in `folder`.

    `found_with` names everything that they depend on, as JSON can hold it; `sizes` has the number of cases of each
    suite. A file that is damaged is written anew.
    """
    file = folder / f"{hashlib.sha256(json.dumps(found_with, sort_keys=True).encode()).hexdigest()[:32]}.json"
    known = _read(file, sizes)
    if known is not None:
        return known
    findings = find()
    if findings.is_finite:
        _write(file, findings)
    return findings


def _read(file: Path, sizes: Sequence[int]) -> Findings | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        content = json.loads(file.read_text(encoding="utf-8"))
        passed = tuple(tuple(map(bool, cases)) for cases in content["passed"])
        losses = tuple(map(float, content["coherence_losses"]))
        numbers = {name: float(value) for name, value in content.items() if not isinstance(value, list)}
        findings = Findings(**numbers, coherence_losses=losses, passed=passed)
        if findings.is_finite and [len(cases) for cases in passed] == list(sizes):
            return findings
    return None


def _write(file: Path, findings: Findings) -> None:
    """Write the file whole or not at all; without it, only time is lost."""
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(findings)), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        log.warning("The base model's results cannot be kept in %s (%s).", file.parent, error.strerror)
