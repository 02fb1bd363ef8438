"""Checks of the doctor, and their findings: problems and hints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.errors import ConnectionRefused
from storage.errors import StorageError
from storage.runtime.redaction import Redactor
from storage.wording import count

Check = tuple[str, Callable[[], str]]
"""A check's name, and a function that returns its finding or raises Problem or Hint."""


class Problem(Exception):
    """Something must be fixed; the text says how."""


class Hint(Exception):
    """Nothing is broken, but the operator should know; the text says what to do."""


class FindingStatus(StrEnum):
    OK = "ok"
    HINT = "hint"
    PROBLEM = "problem"


SIGNS = {FindingStatus.OK: "✓", FindingStatus.HINT: "–", FindingStatus.PROBLEM: "✗"}


@dataclass(frozen=True)
class Finding:
    what: str
    status: FindingStatus
    message: str


def find(what: str, check: Callable[[], str], redact: Redactor) -> Finding:
    """Run the check. `redact` hides secrets in the text of an unexpected error."""
    try:
        return Finding(what, FindingStatus.OK, check())
    except Hint as hint:
        return Finding(what, FindingStatus.HINT, str(hint))
    except (Problem, StorageError, ConnectionRefused) as error:
        return Finding(what, FindingStatus.PROBLEM, str(error))
    except Exception as error:  # the other checks should still run
        reason, *_ = str(error).splitlines() or [""]
        return Finding(what, FindingStatus.PROBLEM, redact(f"the check failed: {type(error).__name__}: {reason}"))


def problems_of(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.status is FindingStatus.PROBLEM]


def describe_findings(findings: Sequence[Finding]) -> str:
    """Return one line per finding, then the numbered list of things to fix; checks that fail alike share one number."""
    lines = [f"{SIGNS[finding.status]} **{finding.what}:** {finding.message}" for finding in findings]
    problems = problems_of(findings)
    if not problems:
        return "\n".join([*lines, "", "All good."])
    causes: dict[str, list[str]] = {}
    for problem in problems:
        causes.setdefault(problem.message, []).append(problem.what)
    to_fix = [f"{n}. **{', '.join(checks)}:** {message}" for n, (message, checks) in enumerate(causes.items(), start=1)]
    return "\n".join([*lines, "", f"**{count(len(causes), 'thing')} to fix**", "", *to_fix])
