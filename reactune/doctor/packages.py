"""Installed packages: those that are needed, in versions that fit, and what the optional ones would bring."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from reactune.doctor.checks import Unwell

OPTIONAL = {
    "postgres": "PostgreSQL",
    "s3": "adapters on S3",
    "qlora": "training in four bits",
    "demo": "`reactune demo`",
}
"""Extra: what it is for. The other extras are for contributors."""


def check_packages(distribution: str = "reactune") -> str:
    """Return which optional packages are there; raises Unwell with the command that installs what is needed."""
    missing = list(problems(distribution, extra=""))
    if missing:
        raise Unwell(f"{'; '.join(missing)}: run `pip install --upgrade {distribution}` in this environment")
    without = [use for extra, use in OPTIONAL.items() if list(problems(distribution, extra))]
    return "all that is needed" + (f"; not installed: what is for {' and '.join(without)}" if without else "")


def problems(distribution: str, extra: str) -> Iterator[str]:
    """Yield what is missing, or of a version that does not fit, of those needed with the extra."""
    for line in requires(distribution) or ():
        needed = Requirement(line)
        own = needed.marker is None if not extra else needed.marker is not None
        if own and (needed.marker is None or needed.marker.evaluate({"extra": extra})):
            yield from _problem(needed)


def _problem(needed: Requirement) -> Iterator[str]:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        yield f"{needed.name} is not installed"
        return
    if not needed.specifier.contains(found, prereleases=True):
        yield f"{needed.name} {found} is installed, {needed.specifier} is needed"
