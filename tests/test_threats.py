"""Every defence in THREATS.md has a test that is marked with its number, and every mark has a defence."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (T\d+) \|", re.MULTILINE)
MARK = re.compile(r"@pytest\.mark\.threat\(([^)]*)\)")


def test_every_defence_has_a_test() -> None:
    listed = ROW.findall((ROOT / "THREATS.md").read_text(encoding="utf-8"))
    files = (ROOT / "tests").rglob("test_*.py")
    marks = [given for file in files for given in MARK.findall(file.read_text(encoding="utf-8"))]
    shown = {number for given in marks for number in re.findall(r"T\d+", given)}
    assert len(listed) == len(set(listed))
    assert set(listed) == shown
