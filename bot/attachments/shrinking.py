"""Makes a picture small and plain, in a separate process, because the file may be damaged or malicious.

What comes out are bare pixels: no decoder runs in this process, and no metadata is left, such as the place where a
photo was taken.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import TYPE_CHECKING, Any

from bot.errors import UserFacingError
from storage.separate_process import limit_memory, run_apart
from storage.wording import gettext_noop

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
LONGER_SIDE = 1_024
"""Longer side in pixels: vision models shrink larger pictures themselves."""
MAX_PIXELS = 40_000_000
"""Unpacked, that is 160 MB in the separate process; phones' cameras have 12 to 50 million."""
QUALITY = 85
TIMEOUT_S = 20.0
DAMAGED = gettext_noop("I couldn't open the picture: it is damaged or not what its name says.")


class PictureRefused(UserFacingError):
    """The picture cannot be looked at; the message says why."""


def shrink(content: bytes) -> Picture:
    """Return the picture, of an animation its first frame, in RGB; raises PictureRefused."""
    from PIL import Image

    try:
        found = run_apart("bot.attachments.shrinking", [], content, TIMEOUT_S)
        if "problem" not in found:
            size = int(found["width"]), int(found["height"])
            if max(size) <= LONGER_SIDE:  # else a hostile file has taken over the other process
                return Image.frombytes("RGB", size, base64.b64decode(found["pixels"]))
    except (TimeoutError, ValueError) as error:
        raise PictureRefused(DAMAGED) from error
    raise PictureRefused(found.get("problem", DAMAGED), **found.get("values", {}))


def jpeg_of(picture: Picture) -> bytes:
    """Return the picture as a JPEG. Servers differ in what they can open (llama.cpp no WebP): all of them open that."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


# The rest runs in the separate process.


def main() -> None:
    """Read a picture from standard input, and write it or a problem as JSON."""
    limit_memory()
    try:
        small = _shrink(sys.stdin.buffer.read())
        pixels = base64.b64encode(small.tobytes()).decode()
        answer: dict[str, Any] = {"width": small.width, "height": small.height, "pixels": pixels}
    except PictureRefused as error:
        answer = {"problem": error.message, "values": error.values}
    except Exception:
        # On damaged files the decoders raise all kinds of errors.
        answer = {"problem": DAMAGED, "values": {}}
    sys.stdout.write(json.dumps(answer))


def _shrink(content: bytes) -> Picture:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the size is checked below, before the picture is unpacked
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        pixels = picture.width * picture.height
        if pixels > MAX_PIXELS:
            raise PictureRefused(
                "I couldn't look at the picture: it has {size} million pixels, and I look at up to {limit} million.",
                size=round(pixels / 1e6),
                limit=round(MAX_PIXELS / 1e6),
            )
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    upright.thumbnail((LONGER_SIDE, LONGER_SIDE))
    plain = Image.new("RGB", upright.size, "white")
    plain.paste(upright, mask=upright)
    return plain


if __name__ == "__main__":
    main()
