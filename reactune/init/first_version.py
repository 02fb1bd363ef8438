"""The last step: a first version, made now from the examples on a personality's card."""

from __future__ import annotations

from pathlib import Path

from reactune.init.prompts import confirm, say
from reactune.shared import plain_text_of, progress, read_settings, reading
from reactune.train import train_personality
from storage.database.enums import TrainingSource
from storage.personalities.personalities import personality_named
from storage.releases.before_after import compare_round
from storage.releases.versions import version_of_round
from storage.training.first_version import offered_examples


def propose_first_version(name: str, config: Path | None, program: str) -> None:
    """Say that a first version can be made, and make it if the operator agrees; nothing if there is none to make."""
    from bot.text.releases import before_after_text
    from bot.text.rounds import describe_first_version, describe_round
    from trainer.rounds.worker import stopped_by_signals

    settings = read_settings(config)
    with reading(settings) as session:
        examples = offered_examples(session, personality_named(session, name), settings.demonstration)
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
        made, compared = version_of_round(session, round_.id), compare_round(session, round_.id)
    if made is not None:
        say(before_after_text(compared).replace("**", ""))
        say(f"To use it: {program} model promote {made.name}{whose}")
