"""What the doctor says about weak votes."""

from __future__ import annotations

import pytest

from reactune.doctor.findings import Hint
from reactune.doctor.training import check_weak_votes
from storage.settings.sections import PrivacySettings, Settings, VoteSettings

PERMITTED = PrivacySettings(discord_training_permission=True)
SILENT = PrivacySettings(learn_from_reactions=False)


def test_it_names_the_kinds_that_count() -> None:
    settings = Settings(votes=VoteSettings(weak=("thanked", "asked again")), privacy=PERMITTED)
    assert check_weak_votes(settings) == "thanked, asked again"
    assert check_weak_votes(Settings(votes=VoteSettings(weak=("asked again",)))) == "asked again"


@pytest.mark.parametrize(
    ("privacy", "key"), [(PrivacySettings(), "discord_training_permission"), (SILENT, "learn_from")]
)
def test_it_says_why_they_do_not_count(privacy: PrivacySettings, key: str) -> None:
    with pytest.raises(Hint, match=key):
        check_weak_votes(Settings(votes=VoteSettings(weak=("thanked",)), privacy=privacy))
