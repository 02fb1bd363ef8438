"""Pictures of personalities: stored, and cut to the square that Discord shows."""

from __future__ import annotations

import hashlib
import io

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from storage.database.rows import upsert
from storage.database.tables import PersonalityRow, PictureRow

AVATAR_SIDE = 256
"""Side of the avatar, in pixels."""
FACE = (0.5, 0.15)
"""The part of a portrait kept in a square, as shares of its width and height: the middle, and nearly the top."""


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
        square = ImageOps.fit(whole, (AVATAR_SIDE, AVATAR_SIDE), centering=FACE)
    file = io.BytesIO()
    square.save(file, "PNG")
    return file.getvalue()
