"""The last step: a first version, made now from the examples on a personality's card."""

from __future__ import annotations

from pathlib import Path

from reactune.init.prompts import confirm, say
from reactune.shared import plain_text_of, progress, read_settings, reading
from reactune.train import train_personality
from storage.database.enums import TrainingSource
from storage.personalities.personalities import personality_named
from storage.releases.versions import list_versions
from storage.training.first_version import offered_examples


def propose_first_version(name: str, config: Path | None, program: str) -> None:
    """Say that a first version can be made, and make it if the operator agrees; nothing if there is none to make."""
    from bot.text.rounds import describe_first_version, describe_round
    from trainer.rounds.worker import stopped_by_signals

    settings = read_settings(config)
    with reading(settings) as session:
        personality = personality_named(session, name)
        examples = offered_examples(session, personality, settings.demonstration)
    if not examples:
        return
    say(plain_text_of(describe_first_version(name, examples)))
    whose = f" --personality {name}{f' --config {config}' if config else ''}"
    say(f"Later: {program} train --from examples{whose}")
    if not confirm("Make it now?", default=False):
        return
    with progress() as tell, stopped_by_signals() as stop:
        round_ = train_personality(config, name, TrainingSource.EXAMPLES, tell, stop)
    say(plain_text_of(describe_round(round_)))
    with reading(settings) as session:
        made = next((one for one in list_versions(session, personality.id) if one.round_id == round_.id), None)
    if made is not None:
        say(f"Before and after: {program} model show {made.name}{whose}")
        say(f"To use it: {program} model promote {made.name}{whose}")
