"""Encoded pictures of any kind and size to square ones: crop the long edge, then resize by area.

As Brock et al. 2019 (arXiv 1809.11096) prepare ImageNet. What a file holds is told from its content, not from
its name. Turned the way EXIF says; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; what is
transparent becomes white; of an animation the first frame is taken; colour profiles are ignored.
"""

import functools
import io
import warnings
from typing import Any

import numpy as np
import scipy.sparse
import simplejpeg
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that leaves so many times the pixels that are wanted, a
# side. On photographs the result is then within a grey level, on average, of what the whole picture gives; at
# 1.4 times it would be one and a half (tests/data/test_decode.py).
REDUCED_TO = 2
EXIF_ORIENTATION = 0x0112
MOST_PIXELS = 2**27

# The C library gives memory back to the system after each picture, which has to clear it for the next one: as
# much work as to decode it. It does so less once it has seen a block of this size come and go.
np.empty(2**24, np.uint8)

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MOST_PIXELS is the limit here


class UnusablePicture(ValueError):
    """Bytes that give no picture; the message says why, in a few words."""


def decode_square(encoded: bytes, resolution: int) -> np.ndarray:
    """The centred square of an encoded picture, as u8[resolution, resolution, 3].

    Raises:
      UnusablePicture: it is not of `FORMATS`, broken, larger than `MOST_PIXELS` or of a kind that has no
        definite colours.
    """
    picture = _open(encoded)
    side = min(picture.size)
    left, top = ((size - side) // 2 for size in picture.size)
    orientation = _orientation(picture)
    pixels, (left, top, side) = _decode(encoded, picture, (left, top, side), resolution)
    return _turn(resize_by_area(pixels, (left, top, side), resolution), orientation)


def shorter_side(encoded: bytes) -> int:
    """Pixels of a picture's shorter side, from its header; raises as `decode_square` does."""
    return min(_open(encoded).size)


def resize_by_area(pixels: np.ndarray, square: tuple[float, float, float], resolution: int) -> np.ndarray:
    """Each new pixel is the mean of the area it covers, rounded.

    Args:
      pixels: u8[H, W, 3].
      square: left, top and side, in pixels and fractions of them, of what becomes the picture.
      resolution: pixels a side of the result.

    Returns:
      u8[resolution, resolution, 3].
    """
    left, top, side = square
    height, width, _ = pixels.shape
    lines = pixels.astype(np.float32).reshape(height, width * 3)
    rows = _coverage(top, side, height, resolution) @ lines
    columns = _coverage(left, side, width, resolution, channels=3) @ rows.T
    resized = np.rint(columns, out=columns).astype(np.uint8)
    return np.ascontiguousarray(resized.T).reshape(resolution, resolution, 3)


@functools.lru_cache(maxsize=1024)
def _coverage(
    start: float, side: float, size: int, resolution: int, channels: int = 1
) -> scipy.sparse.csr_matrix:
    """f32[resolution · channels, size · channels]: the part of each of `resolution` equal stretches that each
    pixel covers; of pixels with several channels, the same for each."""
    edges = start + np.linspace(0, side, resolution + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    overlap = np.maximum(overlap, 0)
    # Divided by its sum, for at 1/8 of a JPEG's size the last pixel may stand for fewer than eight.
    parts = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return scipy.sparse.kron(parts, scipy.sparse.eye(channels, dtype=np.float32), format="csr")


def _open(encoded: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnusablePicture(f"more than {MOST_PIXELS:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        reason = f"neither {', '.join(FORMATS[:-1])} nor {FORMATS[-1]}" if encoded else "empty"
        raise UnusablePicture(reason) from error
    except Exception as error:  # whatever Pillow's readers stumble over in a header
        raise UnusablePicture(f"broken: {error}") from error
    if picture.width * picture.height > MOST_PIXELS:
        raise UnusablePicture(f"{picture.width}×{picture.height}: more than {MOST_PIXELS:,} pixels")
    return picture


def _decode(
    encoded: bytes, picture: Image.Image, square: tuple[int, int, int], resolution: int
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Pixels around the square `left, top, side`, and where it lies in them."""
    if picture.format in ("JPEG", "MPO") and picture.mode in ("RGB", "L"):
        pixels = _decode_jpeg(encoded, picture.size, square, resolution)
        if pixels is not None:
            return pixels
    left, top, side = square
    try:
        picture = picture.crop((left, top, left + side, top + side))
        return np.asarray(_to_rgb(picture)), (0, 0, side)
    except UnusablePicture:
        raise
    except Exception as error:  # Pillow's decoders raise what they like, from OSError to SyntaxError
        raise UnusablePicture(f"broken: {error}") from error


def _decode_jpeg(
    encoded: bytes, size: tuple[int, int], square: tuple[int, int, int], resolution: int
) -> tuple[np.ndarray, tuple[float, float, float]] | None:
    """As `_decode`, faster than Pillow; None if the file is broken or of a rare kind, for Pillow to say."""
    ratio = next((ratio for ratio in (8, 4, 2) if square[2] >= ratio * REDUCED_TO * resolution), 1)
    width, height = (-(-pixels // ratio) for pixels in size)
    try:
        pixels = simplejpeg.decode_jpeg(encoded, min_height=height, min_width=width, min_factor=ratio)
    except ValueError:
        return None
    right, bottom = (-(-(start + square[2]) // ratio) for start in square[:2])
    left, top, side = (value / ratio for value in square)
    x, y = int(left), int(top)
    return pixels[y:bottom, x:right], (left - x, top - y, side)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits, whichever way they are stored
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
    except Exception:  # what a broken EXIF block says is no reason to lose the picture
        return 1


def _turn(pixels: np.ndarray, orientation: Any) -> np.ndarray:
    """Turns and mirrors a picture as its EXIF orientation asks (CIPA DC-008, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
