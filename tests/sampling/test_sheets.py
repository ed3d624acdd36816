"""Sample sheets: where each image and each title lands."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from biggan_jax.sampling import sheets
from biggan_jax.sampling.sheets import MARGIN, png, sheet, wrap

WHITE = 255


def numbered(rows: int, columns: int, size: int) -> np.ndarray:
    """Images of one grey each, 10 × row + column."""
    values = 10 * np.arange(rows)[:, None] + np.arange(columns)
    return np.broadcast_to(values[..., None, None, None], (rows, columns, size, size, 3)).astype(np.uint8)


def tile_corner(row: int, column: int, tile: int, page_height: int, rows: int) -> tuple[int, int]:
    top = page_height - (rows - row) * (tile + MARGIN)
    return top, MARGIN + column * (tile + MARGIN)


@pytest.mark.parametrize(("size", "scale"), [(32, 3), (33, 3), (64, 2), (128, 1)])
def test_every_image_is_whole_and_at_its_row_and_column(size, scale):
    pixels = np.asarray(sheet(numbered(3, 4, size), ["a", "b", "c", "d"]))
    tile = size * scale
    for row in range(3):
        for column in range(4):
            top, left = tile_corner(row, column, tile, len(pixels), 3)
            assert (pixels[top : top + tile, left : left + tile] == 10 * row + column).all()
            assert (pixels[top + tile : top + tile + MARGIN] == WHITE).all()
            assert (pixels[top : top + tile, left + tile : left + tile + MARGIN] == WHITE).all()


def test_small_images_are_enlarged_by_whole_pixels():
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32, 3), np.uint8)
    pixels = np.asarray(sheet(image, [""]))
    top, left = tile_corner(0, 0, 96, len(pixels), 1)
    np.testing.assert_array_equal(pixels[top : top + 96 : 3, left : left + 96 : 3], image[0, 0])
    np.testing.assert_array_equal(pixels[top + 2 : top + 96 : 3, left + 2 : left + 96 : 3], image[0, 0])


def ink_columns(pixels: np.ndarray, tile: int, rows: int) -> np.ndarray:
    """Which pixel columns of the title area are not white."""
    title_area = pixels[: len(pixels) - rows * (tile + MARGIN)]
    return (title_area != WHITE).any(axis=(0, 2))


@pytest.mark.parametrize(
    "title", ["Ankle boot", "W" * 40, "a very long name of a class with many words in it", "g" * 9]
)
def test_a_title_stays_above_its_own_column_and_inside_the_page(title):
    pixels = np.asarray(sheet(numbered(1, 3, 32), ["", title, ""]))
    inked = np.flatnonzero(ink_columns(pixels, 96, 1))
    _, left = tile_corner(0, 1, 96, len(pixels), 1)
    assert len(inked) > 0
    assert left - 1 <= inked.min() and inked.max() <= left + 96
    area = pixels[: len(pixels) - 96 - MARGIN]
    assert (area[0] == WHITE).all() and (area[-1] == WHITE).all(), (
        "the text touches the page's edge or the images"
    )


def test_titles_break_between_words_and_an_ellipsis_marks_what_is_lost():
    font = ImageFont.load_default(14)
    width = font.getlength("great white")
    assert wrap("tench", font, width) == ["tench"]
    assert wrap("great white shark", font, width) == ["great white", "shark"]
    lines = wrap("great white shark, man-eater, Carcharodon carcharias", font, width)
    assert len(lines) == sheets.TITLE_LINES and lines[0] == "great white" and lines[1].endswith("…")
    assert wrap("x" * 99, font, width)[0].startswith("xxx")
    assert all(font.getlength(line) <= width for line in lines + wrap("x" * 99, font, width))
    assert wrap("", font, width) == []


def test_a_wrong_shape_type_or_number_of_titles_is_refused():
    with pytest.raises(ValueError, match=r"uint8\[rows, columns, H, W, 3\]"):
        sheet(np.zeros((2, 2, 8, 8, 1), np.uint8), ["a", "b"])
    with pytest.raises(ValueError, match="float32"):
        sheet(np.zeros((2, 2, 8, 8, 3), np.float32), ["a", "b"])
    with pytest.raises(ValueError, match="column_titles has 3 titles for 2 columns"):
        sheet(np.zeros((2, 2, 8, 8, 3), np.uint8), ["a", "b", "c"])


def test_the_png_holds_the_same_pixels():
    page = sheet(numbered(2, 2, 16), ["one", "two"])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(page)))), np.asarray(page))


def test_row_titles_stand_left_of_their_own_row_and_move_no_image():
    plain, titled = (
        np.asarray(sheet(numbered(3, 2, 32), ["a", "b"], names)) for names in (None, ["", "xy", ""])
    )
    added = titled.shape[1] - plain.shape[1]
    assert added > 0 and titled.shape[0] == plain.shape[0]
    np.testing.assert_array_equal(titled[:, added + MARGIN :], plain[:, MARGIN:])
    inked = np.flatnonzero((titled[:, : added + MARGIN] != WHITE).any(axis=(1, 2)))
    top, _ = tile_corner(1, 0, 96, len(titled), 3)
    assert top < inked.min() and inked.max() < top + 96
    assert abs((inked.min() + inked.max()) / 2 - (top + 48)) < 8
    with pytest.raises(ValueError, match="row_titles has 1 titles for 3 rows"):
        sheet(numbered(3, 2, 32), ["a", "b"], ["x"])
