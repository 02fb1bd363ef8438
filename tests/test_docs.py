"""Guides speak to people who do not know the code, in short sentences, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage.settings.gone import GONE
from storage.settings.sections import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RECORDS = {"measurements.md", "capacity.md", "faults.md"}
"""Pages of numbers, which name what they measure."""
GENERATED = {"commands.md", "settings.md"}
NOTEBOOK = ROOT / "tests" / "benchmarks" / "results"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *NOTEBOOK.glob("*.md")])
GUIDES = [page for page in DOCS.glob("*.md") if page.name not in RECORDS | GENERATED]

CODE = re.compile(r"```.*?```", re.DOTALL)
LITERAL = re.compile(r"`[^`]*`")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
UNWANTED = re.compile(
    r"champions?|challengers?|alias(?:es)?|last-good|canar(?:y|ies)|verdicts?|lineages?|manifests?|"
    r"quarantined?|bursts?|sittings?|siblings?|likings?|Wilson|margins?|the gate",
    re.IGNORECASE,
)
"""Words of the code for which a guide has others; the glossary of docs/how-it-learns.md has them."""
LONGEST_SENTENCE = 30
"""Words."""
SETTING = re.compile(r"`(\w+)\.(\w+)(?= ?=|`)")


def prose_of(page: Path) -> str:
    """Return the text without code, headings and tables, one paragraph or list item a line."""
    text = LINK.sub(r"\1", LITERAL.sub("code", CODE.sub("", page.read_text(encoding="utf-8"))))
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "!["))]
    return re.sub(r"\n(?!\s*(?:\n|[-*] |\d+\. ))", " ", "\n".join(lines))


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[`*]", "", LINK.sub(r"\1", heading)).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_guides_use_the_words_of_the_glossary(page: Path) -> None:
    text = LITERAL.sub("", CODE.sub("", page.read_text(encoding="utf-8")))
    assert sorted({word.group() for word in re.finditer(rf"\b(?:{UNWANTED.pattern})\b", text, re.IGNORECASE)}) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDES], ids=lambda page: page.name)
def test_sentences_of_guides_are_short(page: Path) -> None:
    sentences = re.split(r"(?<=[.!?:])\s|\n", prose_of(page))
    assert [sentence for sentence in sentences if len(sentence.split()) > LONGEST_SENTENCE] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for _, target in LINK.findall(LITERAL.sub("", CODE.sub("", page.read_text(encoding="utf-8")))):
        if target.startswith("http") or not {".", "#"} & set(target):  # the second is an example of a link
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors_of(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_exist(page: Path) -> None:
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    known = GONE if page.parent == NOTEBOOK else {}  # dated records keep the names of their day
    named = [one for one in SETTING.findall(page.read_text(encoding="utf-8")) if ".".join(one) not in known]
    assert [(name, key) for name, key in named if name in sections and key not in sections[name].model_fields] == []


def stored_things(page: Path) -> list[list[str]]:
    """Return the rows of the table of what is stored: what, …, how long, who may see it."""
    table = page.read_text(encoding="utf-8").partition("Who may see it |\n")[2].partition("\n\n")[0]
    return [line.strip("|").split("|") for line in table.splitlines()[1:]]


def test_the_guide_and_the_notice_say_the_same_about_what_is_stored() -> None:
    """Each row of one has its row in the other: about the same subject, with the same days."""
    guide, notice = stored_things(DOCS / "privacy.md"), stored_things(ROOT / "PRIVACY.md")
    assert len(guide) == len(notice)
    for ours, theirs in zip(guide, notice, strict=True):
        subjects, days = zip(
            *((set(re.findall(r"[a-z/]{5,}", row[0].lower())), row[2]) for row in (ours, theirs)), strict=True
        )
        assert subjects[0] & subjects[1], (ours, theirs)
        assert len({tuple(sorted(re.findall(r"\d+|seven", said))) for said in days}) == 1, (ours, theirs)
