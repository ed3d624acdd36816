"""Cropping and resizing against Pillow's BOX filter, and every kind of picture."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from photographs import photograph
from PIL import Image, ImageOps

from biggan_jax.data.decode import UnusablePicture, decode_square, shorter_side


def centred_square(image: np.ndarray) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def whole(content: bytes) -> np.ndarray:
    """All pixels, as Pillow decodes them."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def box(content: bytes, resolution: int) -> np.ndarray:
    """The centred square as Pillow's BOX filter resizes it, i64[resolution, resolution, 3]."""
    square = Image.fromarray(centred_square(whole(content)))
    return np.asarray(square.resize((resolution,) * 2, Image.Resampling.BOX)).astype(int)


@pytest.mark.parametrize("size", [(37, 53), (61, 40), (33, 32), (64, 64), (20, 31), (375, 500)])
def test_a_picture_without_loss_is_pillows_box_of_the_centred_square(size):
    """Pillow rounds after each of its two passes."""
    content = encoded(random_image(*size))
    actual = decode_square(content, 32)
    assert actual.shape == (32, 32, 3) and actual.dtype == np.uint8
    assert np.abs(actual - box(content, 32)).max() <= 1


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("size", [(375, 500), (500, 333), (700, 600), (1200, 900)])
def test_photographs_as_jpeg_are_within_a_grey_level_of_pillows_box(size, subsampling):
    """Also those that are decoded at a half, a quarter or an eighth of their size."""
    content = encoded(photograph(*size), "JPEG", quality=92, subsampling=subsampling)
    for resolution in (24, 32, 64, 128):
        assert np.abs(decode_square(content, resolution) - box(content, resolution)).mean() < 1


PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
KINDS = {
    "PNG": {},
    "JPEG 4:4:4": {"quality": 92, "subsampling": "4:4:4"},
    "JPEG 4:2:0": {"quality": 92, "subsampling": "4:2:0"},
}


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_each_real_photograph_is_within_a_grey_level_of_pillows_box_at_any_size(name, kind):
    import skimage.data

    picture = Image.open(Path(skimage.data.__file__).parent / name).convert("RGB")
    content = encoded(picture, kind.split()[0], **KINDS[kind])
    for resolution in (32, 48, 64, 100, 128, 200, 256, 512):
        assert np.abs(decode_square(content, resolution) - box(content, resolution)).mean() < 1


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_lossless_files_decode_to_their_pixels(kind):
    image = random_image(32, 32) // 64 * 64  # few enough colours for GIF
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode_square(encoded(image, kind, **options), 32), image)


def test_jpeg_decodes_as_pillow_decodes_it():
    content = encoded(random_image(32, 32), "JPEG")
    np.testing.assert_array_equal(decode_square(content, 32), Image.open(io.BytesIO(content)))


def test_the_crop_of_a_jpeg_is_where_pillows_is():
    content = encoded(photograph(61, 90), "JPEG", quality=95)
    pixels = centred_square(np.asarray(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(decode_square(content, 61), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_pictures_stand_as_exif_says(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photograph(40, 24), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(decode_square(content, 24), centred_square(np.asarray(upright)))


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def test_grey_pictures_become_rgb():
    values = random_image(32, 32)[..., 0]
    np.testing.assert_array_equal(decode_square(encoded(values), 32), grey(values))
    content = encoded(values, "JPEG")
    np.testing.assert_array_equal(
        decode_square(content, 32), grey(np.asarray(Image.open(io.BytesIO(content))))
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8_and_not_cut_off(kind):
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(decode_square(encoded(values, kind), 32), grey(expected))


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in [*chunks, (b"IEND", b"")]:
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


def test_16_bit_colours_are_scaled_to_8():
    """Pillow can't write them: a PNG by hand, of one grey-blue."""
    rows = (b"\0" + struct.pack(">3H", 0x4040, 0x8080, 0xC0C0) * 16) * 16
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    actual = decode_square(png_of(chunks), 16)
    np.testing.assert_array_equal(actual, np.full((16, 16, 3), (0x40, 0x80, 0xC0)))


def test_cmyk_becomes_the_colours_that_were_meant():
    image = Image.new("RGB", (32, 32), (200, 40, 90))
    actual = decode_square(encoded(image.convert("CMYK"), "JPEG", quality=100), 32)
    assert np.abs(actual - np.array([200, 40, 90])).max() <= 3


def test_what_is_transparent_becomes_white():
    half = np.full((32, 32, 4), (255, 0, 0, 255), np.uint8)
    half[:16, :, 3] = 0
    half[16:24, :, 3] = 128
    actual = decode_square(encoded(half), 32)
    assert (actual[:16] == 255).all() and (actual[24:] == (255, 0, 0)).all()
    np.testing.assert_array_equal(actual[16:24], np.full((8, 32, 3), (255, 127, 127)))


def test_a_transparent_colour_of_a_palette_becomes_white():
    picture = Image.new("P", (16, 16), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.paste(1, (0, 0, 16, 8))
    actual = decode_square(encoded(picture, transparency=1), 16)
    assert (actual[:8] == 255).all() and (actual[8:] == (10, 20, 30)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue", "lime")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    actual = decode_square(content, 16)
    assert np.abs(actual - np.array([255, 0, 0])).max() <= 3


def test_long_and_tiny_pictures_give_their_centre():
    long = np.zeros((20, 20_000, 3), np.uint8)
    long[:, 9_990:10_010] = (1, 2, 3)
    np.testing.assert_array_equal(decode_square(encoded(long), 32), np.full((32, 32, 3), (1, 2, 3)))
    np.testing.assert_array_equal(
        decode_square(encoded(long[:1, 10_000:10_001]), 4), np.full((4, 4, 3), (1, 2, 3))
    )
    assert shorter_side(encoded(long)) == 20


def png_that_claims(width: int, height: int) -> bytes:
    content = bytearray(encoded(random_image(16, 16)))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


WHOLE = {kind: encoded(photograph(64, 64), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")}
UNUSABLE = {
    "empty": (b"", "empty"),
    "text": (b"<html>404 not found</html>", "neither JPEG, PNG, WEBP, BMP, GIF nor TIFF"),
    "a larger picture than memory should hold": (
        png_that_claims(20_000, 20_000),
        "more than 134,217,728 pixels",
    ),
    "a picture just too large": (png_that_claims(2**14, 2**13 + 1), "16384×8193: more than"),
    "floats": (encoded(Image.new("F", (16, 16)), "TIFF"), "floating-point numbers"),
    "32-bit numbers": (encoded(Image.new("I", (16, 16), 70_000), "TIFF"), "32-bit numbers"),
    **{f"{kind} cut off": (content[: len(content) // 2], "broken: ") for kind, content in WHOLE.items()},
    **{
        f"{kind} with no more than its header": (content[:30], "^(broken|neither)")
        for kind, content in WHOLE.items()
    },
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_gives_no_picture_is_refused_with_the_reason(kind):
    content, reason = UNUSABLE[kind]
    with pytest.raises(UnusablePicture, match=reason):
        decode_square(content, 32)


@pytest.mark.parametrize("kind", WHOLE)
def test_noise_within_a_file_never_raises_anything_else(kind):
    rng = np.random.default_rng(0)
    for _ in range(30):
        content = bytearray(WHOLE[kind])
        for place in rng.integers(0, len(content), 5):
            content[place] = rng.integers(256)
        try:
            assert decode_square(bytes(content), 16).shape == (16, 16, 3)
        except UnusablePicture:
            pass
