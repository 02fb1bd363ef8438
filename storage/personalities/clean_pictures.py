"""Makes a picture small and plain, in a separate process, because the file may be damaged or malicious.

The result is a PNG file without metadata, and without the text in which SillyTavern stores a card.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

from storage.errors import CardError
from storage.separate_process import limit_memory, run_apart
from storage.wording import gettext_noop

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
MAX_PICTURE_FILE_BYTES = 10_000_000
MAX_PICTURE_PIXELS = 40_000_000
LONGER_SIDE = 768
"""Longer side in pixels: Discord shows the picture much smaller."""
TIMEOUT_S = 20.0
DAMAGED = gettext_noop("the picture cannot be opened: send a PNG, JPEG, GIF or WebP file that is not damaged")
ONE_COLOUR = gettext_noop("the picture has one colour only, so nobody would know whose it is: choose another")
TOO_LARGE = gettext_noop("the picture has more than {limit} million pixels: make it smaller")


def clean_picture(content: bytes) -> bytes | None:
    """Return the picture, or an animation's first frame, as a small PNG file; None if it has only one colour.

    Raises CardError.
    """
    try:
        found = run_apart("storage.personalities.clean_pictures", [], content, TIMEOUT_S)
    except (TimeoutError, ValueError) as error:
        raise CardError(DAMAGED) from error
    if "problem" in found:
        raise CardError(found["problem"], **found["values"])
    return base64.b64decode(found["png"]) or None


# The rest runs in the separate process.


def main() -> None:
    """Read a picture from standard input, and write it or a problem as JSON."""
    limit_memory()
    answer: dict[str, Any]
    try:
        answer = {"png": base64.b64encode(_clean(sys.stdin.buffer.read())).decode()}
    except CardError as error:
        answer = {"problem": error.message, "values": error.values}
    except Exception:
        # On damaged files the decoders raise all kinds of errors.
        answer = {"problem": DAMAGED, "values": {}}
    sys.stdout.write(json.dumps(answer))


def _clean(content: bytes) -> bytes:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the size is checked below, before the picture is unpacked
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PICTURE_PIXELS:
            raise CardError(TOO_LARGE, limit=MAX_PICTURE_PIXELS // 1_000_000)
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    upright.thumbnail((LONGER_SIDE, LONGER_SIDE))
    if upright.getcolors(maxcolors=1):
        return b""
    plain = Image.new("RGBA", upright.size)
    plain.paste(upright)  # without the file's metadata
    file = io.BytesIO()
    plain.save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
