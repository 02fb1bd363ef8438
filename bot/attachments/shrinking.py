"""Makes a picture small and plain, in a separate process, because the file may be damaged or malicious.

What comes out is a JPEG without metadata, such as the place where a photo was taken. Servers differ in what they can
open (llama.cpp no WebP), and all of them open that.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

from bot.errors import UserFacingError
from storage.separate_process import limit_memory, run_apart
from storage.wording import gettext_noop

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
LONGER_SIDE = 1_024
"""In pixels: models that see make larger pictures smaller themselves."""
QUALITY = 85
TIMEOUT_S = 20.0
DAMAGED = gettext_noop("I couldn't open the picture: it is damaged or not what its name says.")


class PictureRefused(UserFacingError):
    """The picture cannot be looked at; the message says why."""


def shrink(content: bytes, max_pixels: int) -> str:
    """Return the picture, of an animation its first frame, as a JPEG in base64; raises PictureRefused."""
    try:
        found = run_apart("bot.attachments.shrinking", [str(max_pixels)], content, TIMEOUT_S)
    except (TimeoutError, ValueError) as error:
        raise PictureRefused(DAMAGED) from error
    if "problem" in found:
        raise PictureRefused(found["problem"], **found["values"])
    return str(found["jpeg"])


# The rest runs in the separate process.


def main() -> None:
    """Read a picture from standard input, and write it or a problem as JSON."""
    limit_memory()
    try:
        answer: dict[str, Any] = {"jpeg": base64.b64encode(_shrink(sys.stdin.buffer.read(), int(sys.argv[1]))).decode()}
    except PictureRefused as error:
        answer = {"problem": error.message, "values": error.values}
    except Exception:
        # On damaged files the decoders raise all kinds of errors.
        answer = {"problem": DAMAGED, "values": {}}
    sys.stdout.write(json.dumps(answer))


def _shrink(content: bytes, max_pixels: int) -> bytes:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the size is checked below, before the picture is unpacked
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        pixels = picture.width * picture.height
        if pixels > max_pixels:
            raise PictureRefused(
                "I couldn't look at the picture: it has {size} million pixels, and I look at up to {limit} million.",
                size=round(pixels / 1e6),
                limit=round(max_pixels / 1e6),
            )
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    upright.thumbnail((LONGER_SIDE, LONGER_SIDE))
    plain = Image.new("RGB", upright.size, "white")
    plain.paste(upright, mask=upright)
    file = io.BytesIO()
    plain.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


if __name__ == "__main__":
    main()
