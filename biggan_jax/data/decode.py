"""Decodes pictures of any format and size to squares: crops the long edge, then resizes (resize.py).

Brock et al. 2019 (arXiv 1809.11096) prepare ImageNet in this way. The content of a file decides on its
format, not its name. Pictures are turned as EXIF says; grey, palette, CMYK and 16-bit pictures become 8-bit
RGB; transparent pixels become white; an animation gives its first frame; colour profiles are ignored.
"""

import io
import warnings
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from biggan_jax.data.resize import box_resize

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if this leaves at least REDUCED_TO × the resolution a side.
# Its colours, mostly stored at half the size, are enlarged without smoothing if the picture shrinks by
# ROUGH_COLOURS_FROM or more. Photographs then differ by less than one grey level, on average, from the result
# of Pillow's BOX filter on all pixels (tests/data/test_decode.py).
REDUCED_TO = 4
ROUGH_COLOURS_FROM = 2
EXIF_ORIENTATION = 0x0112
MAX_PIXELS = 2**27

# The C library returns memory to the system after each picture, and the system clears it for the next one,
# which takes as long as decoding. After one allocation of this size the library keeps more memory.
np.empty(2**24, np.uint8)

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here


class UnusablePicture(ValueError):
    """Bytes that cannot be decoded to a picture; the message says why, in a few words."""


def decode_square(encoded: bytes, resolution: int) -> np.ndarray:
    """Decodes the centred square of a picture.

    Args:
      encoded: Content of a picture file.
      resolution: Pixels a side.

    Returns:
      u8[resolution, resolution, 3].

    Raises:
      UnusablePicture: The picture is in none of `FORMATS`, is broken, has more than `MAX_PIXELS`, or has no
        definite colours.
    """
    picture = _open(encoded)
    side = min(picture.size)
    left, top = ((size - side) // 2 for size in picture.size)
    return _turn(_resized(encoded, picture, (left, top, side), resolution), _orientation(picture))


def shorter_side(encoded: bytes) -> int:
    """Returns the pixels of a picture's shorter side, from its header; raises as `decode_square` does."""
    return min(_open(encoded).size)


def _open(encoded: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnusablePicture(f"more than {MAX_PIXELS:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        reason = f"neither {', '.join(FORMATS[:-1])} nor {FORMATS[-1]}" if encoded else "empty"
        raise UnusablePicture(reason) from error
    except Exception as error:  # Pillow's readers raise many types for a broken header
        raise UnusablePicture(f"broken: {error}") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise UnusablePicture(f"{picture.width}×{picture.height}: more than {MAX_PIXELS:,} pixels")
    return picture


def _resized(
    encoded: bytes, picture: Image.Image, square: tuple[int, int, int], resolution: int
) -> np.ndarray:
    """Returns the square `left, top, side` of a picture as u8[resolution, resolution, 3]."""
    if picture.format in ("JPEG", "MPO") and picture.mode in ("RGB", "L"):
        ratio = next((ratio for ratio in (8, 4, 2) if square[2] >= ratio * REDUCED_TO * resolution), 1)
        rough_colours = square[2] >= ROUGH_COLOURS_FROM * resolution
        pixels = _decode_jpeg(encoded, picture.size, ratio, rough_colours)
        if pixels is not None:
            return box_resize(pixels, square, resolution, ratio)
    left, top, side = square
    try:
        pixels = np.asarray(_to_rgb(picture.crop((left, top, left + side, top + side))))
    except UnusablePicture:
        raise
    except Exception as error:  # Pillow's decoders raise many types, from OSError to SyntaxError
        raise UnusablePicture(f"broken: {error}") from error
    return box_resize(pixels, (0, 0, side), resolution)


def _decode_jpeg(encoded: bytes, size: tuple[int, int], ratio: int, rough_colours: bool) -> np.ndarray | None:
    """Returns the pixels, or means of `ratio` × `ratio` pixels, faster than Pillow.

    Returns None if the file is broken or of a rare kind: Pillow then reports the reason.
    """
    width, height = (-(-pixels // ratio) for pixels in size)
    try:
        return simplejpeg.decode_jpeg(
            encoded, min_height=height, min_width=width, min_factor=ratio, fastupsample=rough_colours
        )
    except ValueError:
        return None


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits in any byte order
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UnusablePicture("32-bit numbers, which have no definite black and white")
        picture = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    elif picture.mode == "F":
        raise UnusablePicture("floating-point numbers, which have no definite black and white")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(EXIF_ORIENTATION, 1) if "exif" in picture.info else 1
    except Exception:  # the picture is usable without its EXIF block
        return 1


def _turn(pixels: np.ndarray, orientation: Any) -> np.ndarray:
    """Turns and mirrors a picture by its EXIF orientation (CIPA DC-008, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
