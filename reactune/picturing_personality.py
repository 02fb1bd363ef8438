"""`reactune personality picture`: gives a personality a picture of its own, or the bot's again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reactune.shared import (
    AsJson,
    Config,
    PersonalityName,
    operating,
    operator_action,
    read_settings,
    show,
    with_cards,
)
from storage.errors import CardError, SettingsError

File = Annotated[Path | None, typer.Argument(help="PNG, JPEG, GIF or WebP file.")]
Remove = Annotated[bool, typer.Option("--remove", help="Show the bot's picture again.")]


def picture_personality(
    name: PersonalityName, file: File = None, *, remove: Remove = False, config: Config = None, as_json: AsJson = False
) -> None:
    """Set the picture beside a personality's messages in Discord."""
    from storage.operations.audit import audited
    from storage.personalities.clean_pictures import ONE_COLOUR, clean_picture
    from storage.personalities.pictures import set_picture

    if (file is None) != remove:
        raise SettingsError("name either a picture's file or --remove")
    picture = clean_picture(_read(file)) if file else None
    if file and picture is None:
        raise CardError(ONE_COLOUR)
    with with_cards(read_settings(config)):
        pass  # the personality may be new in a file
    command = operator_action("personality picture", f"file: {file.name}" if file else "removed")
    with operating(config, name, command) as (database, action, personality_id):
        changed = database.call(audited(action, set_picture), personality_id, picture)
    became = "is beside the messages of" if picture else "was removed from"
    said = f"The picture {became} **{name}**." if changed else f"Nothing changed: **{name}** appears like that already."
    show({"personality": name, "has_picture": picture is not None, "changed": changed}, said, as_json)


def _read(path: Path) -> bytes:
    from storage.personalities.clean_pictures import MAX_PICTURE_FILE_BYTES

    try:
        if path.stat().st_size > MAX_PICTURE_FILE_BYTES:
            raise CardError(f"{path} is larger than {MAX_PICTURE_FILE_BYTES // 1_000_000} MB: make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise CardError(f"{path} cannot be read ({error.strerror}): check the path") from error
