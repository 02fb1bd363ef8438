"""Asks PyPI's advisories about what is installed; `make check` runs it, and it never fails that.

An advisory can appear without a change of ours, so it is reported and does not block an unrelated change.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from importlib.metadata import version
from urllib.request import urlopen

SERVICE = "https://pypi.org/pypi/{name}/{version}/json"
PROBED = "SQLAlchemy"
PATIENCE_S = 2.5
AUDIT_S = 120.0
NOT_REACHED = "Dependencies: not audited, PyPI's advisories cannot be reached from here."


def has_advisories(url: str, patience_s: float = PATIENCE_S) -> bool:
    """Return whether the address answers with a release's advisories in time; a slow name server counts as well."""
    found: list[bool] = []

    def ask() -> None:
        try:
            with urlopen(url, timeout=patience_s) as answer:
                found.append("vulnerabilities" in json.load(answer))
        except (OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience_s)
    return found == [True]


def audit() -> str:
    """Return what is to be said."""
    if not has_advisories(SERVICE.format(name=PROBED, version=version(PROBED))):
        return NOT_REACHED
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_S, check=False)
    except subprocess.TimeoutExpired:
        return NOT_REACHED
    if done.returncode == 0:
        return "Dependencies: no known vulnerability."
    return f"Dependencies: pip-audit found something; upgrade what it names.\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    print(audit(), flush=True)
