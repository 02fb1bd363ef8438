"""Pictures of personalities: made small and plain, stored, and cut to the square that Discord shows."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from storage.database.rows import upsert
from storage.database.tables import PersonalityRow, PictureRow
from storage.errors import CardError
from storage.small_pictures import MAX_PIXELS, PictureTooLarge, open_small
from storage.wording import gettext_noop

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PICTURE_FILE_BYTES = 10_000_000
LONGER_SIDE = 768
"""Longer side in pixels: Discord shows the picture much smaller."""
DAMAGED = gettext_noop("the picture cannot be opened: send a PNG, JPEG, GIF or WebP file that is not damaged")
ONE_COLOUR = gettext_noop("the picture has one colour only, so nobody would know whose it is: choose another")
TOO_LARGE = gettext_noop("the picture has more than {limit} million pixels: make it smaller")
AVATAR_SIDE = 256
"""Side of the avatar, in pixels."""
FACE = (0.5, 0.15)
"""The part of a portrait kept in a square, as shares of its width and height: the middle, and nearly the top."""


def clean_picture(content: bytes) -> bytes | None:
    """Return the picture, or an animation's first frame, as a small PNG file; None if it has only one colour.

    Raises CardError.
    """
    try:
        small = open_small(content, LONGER_SIDE)
    except PictureTooLarge as error:
        raise CardError(TOO_LARGE, limit=MAX_PIXELS // 1_000_000) from error
    except ValueError as error:
        raise CardError(DAMAGED) from error
    return None if small.getcolors(maxcolors=1) else _png_of(small)


def set_picture(session: Session, personality_id: int, picture: bytes | None) -> bool:
    """Set or remove the personality's picture, as made by `clean_picture`; return False if that changes nothing."""
    digest = hashlib.sha256(picture).hexdigest() if picture else None
    row = session.get_one(PersonalityRow, personality_id, with_for_update={"key_share": True}, populate_existing=True)
    if row.picture_digest == digest:
        return False
    if picture is None:
        session.execute(delete(PictureRow).where(PictureRow.personality_id == personality_id))
    else:
        new = upsert(session, PictureRow).values(personality_id=personality_id, content=picture)
        session.execute(new.on_conflict_do_update(index_elements=["personality_id"], set_={"content": picture}))
    session.execute(update(PersonalityRow).where(PersonalityRow.id == personality_id).values(picture_digest=digest))
    return True


def read_picture(session: Session, personality_id: int) -> bytes | None:
    """Return the personality's picture, a PNG file; None without one."""
    return session.scalar(select(PictureRow.content).where(PictureRow.personality_id == personality_id))


def avatar_of(picture: bytes) -> bytes:
    """Return the square of a stored picture that is shown beside messages, a PNG file."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(picture), formats=("PNG",)) as whole:
        return _png_of(ImageOps.fit(whole, (AVATAR_SIDE, AVATAR_SIDE), centering=FACE))


def _png_of(picture: Picture) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
