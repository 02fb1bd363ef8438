"""Checks that the required packages are installed in the right versions, and lists missing optional ones."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from reactune.doctor.findings import Problem

OPTIONAL = {
    "postgres": "PostgreSQL",
    "s3": "S3",
    "qlora": "4-bit training",
    "demo": "the demo",
}
"""{extra: what it is for}. The other extras are for contributors."""


def check_packages(distribution: str = "reactune") -> str:
    """Return which optional packages are missing; raises Problem with a command if a required one is."""
    missing = list(problems(distribution, extra=""))
    if missing:
        raise Problem(f"{'; '.join(missing)}: run `pip install --upgrade {distribution}` in this environment")
    optional = [use for extra, use in OPTIONAL.items() if list(problems(distribution, extra))]
    return "all required packages" + (f"; optional, not installed: {', '.join(optional)}" if optional else "")


def problems(distribution: str, extra: str) -> Iterator[str]:
    """Yield each package that the extra needs and that is missing or has the wrong version."""
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
        yield f"{needed.name} {found} is installed, but {needed.specifier} is needed"
