"""The base models that the demo's page offers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from reactune.demo_bases import bases_to_choose
from storage.database.database import open_database
from storage.releases.bases import ConfiguredBase, record_base
from storage.settings.loading import load_settings
from tests.tiny_model import build_tiny_base


def test_a_folder_that_answered_before_is_offered_again(tmp_path: Path) -> None:
    earlier, gone = str(build_tiny_base(tmp_path / "earlier")), str(tmp_path / "gone")
    settings = load_settings(environment={"REACTUNE_DATA__DIRECTORY": str(tmp_path)})
    with closing(open_database(settings)) as database, database.transaction() as session:
        for setting, revision in ((earlier, "a"), (earlier, "b"), (gone, "c"), ("bundled", "d")):
            record_base(session, ConfiguredBase(setting=setting, name=setting, revision=revision), by="test")
    found = bases_to_choose(settings).find()
    offered = {base.setting: base for base in found}
    assert len(found) == len(offered)
    assert (offered[earlier].name, offered[earlier].download, offered[earlier].is_in_use) == (earlier, 0, False)
    assert [base.setting for base in offered.values() if base.is_in_use] == ["bundled"]
    assert gone not in offered
    assert [base.parameters for base in offered.values()] == sorted(base.parameters for base in offered.values())
