"""What keeps the code easy to find one's way in: no import circles, one meaning for each name, short import lists."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_BYTES = 10_000_000
PACKAGES = ("bot", "reactune", "storage", "trainer")
MODULES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if "versions" not in path.parts  # each migration has an upgrade()
]
ENTRY_POINTS = frozenset({"main", "setup"})
"""Called by name: by Python's -m, and for each cog."""


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)  # imports for types and inside functions count too
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()


def _public_definitions(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_definition and not node.name.startswith("_") and node.name not in ENTRY_POINTS:
            yield node.name


def test_a_public_name_means_one_thing() -> None:
    places = defaultdict(list)
    for path in MODULES:
        for name in _public_definitions(path):
            places[name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=lambda path: path.parent.name)
def test_a_package_says_what_it_holds(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.skipif(not shutil.which("git") or not (ROOT / ".git").exists(), reason="this is no checkout")
def test_no_file_of_the_project_is_large() -> None:
    """Model weights that a program left in the folder were committed once."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert files
    assert [file for file in files if file.is_file() and file.stat().st_size > MAX_FILE_BYTES] == []
