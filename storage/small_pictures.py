"""Opens pictures in a separate process, because a file may be damaged or malicious, and makes them small.

What comes out are bare pixels: no decoder runs in this process, and no metadata is left, such as the place where a
photo was taken, or the text in which SillyTavern stores a card.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import TYPE_CHECKING, Any

from storage.separate_process import limit_process, run_apart

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
MAX_PIXELS = 40_000_000
"""Unpacked, that is 160 MB in the separate process; phones' cameras have 12 to 50 million."""
TIMEOUT_S = 20.0


class PictureTooLarge(ValueError):
    def __init__(self, pixels: int) -> None:
        super().__init__(f"it has {pixels} pixels")
        self.pixels = pixels


def open_small(content: bytes, longer_side: int) -> Picture:
    """Return the picture, of an animation its first frame, in RGBA, with at most `longer_side` pixels on each side.

    Raises PictureTooLarge if it has more than MAX_PIXELS, and ValueError if it cannot be opened.
    """
    from PIL import Image

    try:
        found = run_apart("storage.small_pictures", [str(longer_side)], content, TIMEOUT_S)
    except TimeoutError as error:
        raise ValueError("it takes too long to open") from error
    if "too_large" in found:
        raise PictureTooLarge(int(found["too_large"]))
    size = int(found.get("width", 0)), int(found.get("height", 0))
    if not 0 < max(size) <= longer_side:  # it is damaged, or has taken over the other process
        raise ValueError("it is damaged")
    return Image.frombytes("RGBA", size, base64.b64decode(found["pixels"]))


# The rest runs in the separate process.


def main() -> None:
    """Read a picture from standard input, and write its pixels as JSON; nothing if it is damaged."""
    limit_process()
    answer: dict[str, Any] = {}
    try:
        small = _shrink(sys.stdin.buffer.read(), int(sys.argv[1]))
        pixels = base64.b64encode(small.tobytes()).decode()
        answer = {"width": small.width, "height": small.height, "pixels": pixels}
    except PictureTooLarge as error:
        answer = {"too_large": error.pixels}
    except Exception:
        pass
    sys.stdout.write(json.dumps(answer))


def _shrink(content: bytes, longer_side: int) -> Picture:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the size is checked below, before the picture is unpacked
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        pixels = picture.width * picture.height
        if pixels > MAX_PIXELS:
            raise PictureTooLarge(pixels)
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16 bits of grey, of which conversion would make white
        upright = upright.convert("I").point(lambda grey: grey * (1 / 256)).convert("L")
    upright = upright.convert("RGBA")
    upright.thumbnail((longer_side, longer_side))
    return upright


if __name__ == "__main__":
    main()
