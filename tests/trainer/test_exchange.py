from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import func, select

from storage.database.database import open_database
from storage.database.tables import ReplyRow
from storage.errors import SettingsError
from trainer.exchange import import_file


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_pairs_is_refused(settings, tmp_path, text):
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(SettingsError, match="has no pairs"):
        import_file(settings, tmp_path / "in.jsonl")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ("not json", "line 2 is not valid JSON"),
        ('{"prompt": "x", "chosen": "y"}', "line 2: prompt, chosen or rejected is missing"),
        ('{"prompt": "x", "chosen": "y", "rejected": "y"}', "two different, non-empty answers"),
        ('{"prompt": 3, "chosen": "y", "rejected": "n"}', "prompt must be text or a list of messages"),
        ('{"prompt": "x", "chosen": {"a": 1}, "rejected": "n"}', "an answer must be text"),
        ('{"prompt": [{"no": "role"}], "chosen": "y", "rejected": "n"}', "line 2"),
        ('{"prompt": "x", "chosen": [], "rejected": "n"}', "an answer must be text"),
        ('{"prompt": "x", "chosen": [{"role": "user", "content": "y"}], "rejected": "n"}', "one assistant message"),
        ('{"prompt": "x\\ud800", "chosen": "y", "rejected": "n"}', "line 2"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(settings, tmp_path, second, sentence):
    good = json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"})
    file = tmp_path / "in.jsonl"
    file.write_text(f"{good}\n{second}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=sentence):
        import_file(settings, file)
    database = open_database(settings)
    with database.snapshot() as session:
        assert session.scalar(select(func.count()).select_from(ReplyRow)) == 0
    database.close()


def test_a_bot_that_runs_writes_while_pairs_are_imported(settings, database, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.exchange.PAIRS_AT_ONCE", 2)
    pairs = [json.dumps({"prompt": f"question {n}", "chosen": "yes", "rejected": "no"}) for n in range(6)]
    (tmp_path / "in.jsonl").write_text("\n".join(pairs))
    importing = threading.Thread(target=import_file, args=(settings, tmp_path / "in.jsonl"))
    importing.start()
    found = set()
    while importing.is_alive():
        with database.transaction() as session:  # waits for the write lock
            found.add(session.scalar(select(func.count()).select_from(ReplyRow)))
    assert found & {2, 4}
