"""Teaches every personality on the base in use: the examples of its card first, then votes and suggestions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from threading import Event

from reactune.base_texts import Lesson
from reactune.shared import operating, operator_action, reading
from reactune.train import train_personality
from storage.adapters.stores import open_store
from storage.database.enums import GateVerdict, TrainingSource
from storage.errors import AlreadyChampion
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.promotion import ReleaseRequest, promote_version
from storage.releases.versions import Version, read_alias, version_of_round
from storage.settings.sections import Settings
from storage.training.rounds import Round

TAUGHT = "taught on the new base model"


def teach_all(config: Path | None, settings: Settings, say: Callable[[str], None], stop: Event) -> list[Lesson]:
    """Run the rounds one after another, and return how each ended; the rest is left out if `stop` is set.

    A version that learned from examples and passed the gate becomes the champion if the bare base was: the round of
    votes starts from it.
    """
    with reading(settings) as session:
        personalities = list_personalities(session)
    lessons = []
    for personality in personalities:
        for source in _sources(personality, settings):
            if stop.is_set():
                return lessons
            round_ = train_personality(config, personality.name, source, _saying(say, personality.name), stop)
            led = _lead(config, settings, personality, round_) if source is TrainingSource.EXAMPLES else None
            lessons.append(Lesson(personality.name, round_, led))
    return lessons


def _sources(personality: Personality, settings: Settings) -> list[TrainingSource]:
    with reading(settings) as session:
        is_bare = read_alias(session, personality.id).version is None
    has_examples = len(personality.card.examples) >= settings.demonstration.min_examples
    return [*([TrainingSource.EXAMPLES] if is_bare and has_examples else []), TrainingSource.VOTES]


def _saying(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda sentence: say(f"{name}: {sentence}")


def _lead(config: Path | None, settings: Settings, personality: Personality, round_: Round) -> str | None:
    """Promote the version that the round made, if it passed the gate, and return its name."""
    with reading(settings) as session:
        version = version_of_round(session, round_.id)
    if version is None or version.verdict is not GateVerdict.PASS:
        return None
    store = open_store(settings)

    def open_files(found: Version | None) -> None:
        if found is not None:
            store.path(found.digest)

    command = operator_action("model promote", f"version: {version.name}", TAUGHT)
    request = ReleaseRequest(personality.id, version.name, TAUGHT, override=False, open_files=open_files)
    with operating(config, personality.name, command) as (database, action, _), contextlib.suppress(AlreadyChampion):
        promote_version(database, action, request)
    return version.name
