"""Sheets: grids of images with class names above the columns, as the paper's figures show samples."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST_TILE = 96  # pixels; smaller images are enlarged by an integer factor, so pixels stay squares
MARGIN = 4
TITLE_LINES = 2
FONT_SIZE = 14


def sheet(
    images: np.ndarray,
    column_titles: Sequence[str],
    row_titles: Sequence[str] | None = None,
    title_lines: int | None = None,
) -> Image.Image:
    """Draws a sheet.

    Args:
      images: u8[rows, columns, H, W, 3].
      column_titles: One title for each column. A title that does not fit into two lines ends in an ellipsis.
      row_titles: One title for each row, on its left; None for no titles.
      title_lines: Lines to reserve for the column titles; None for as many as they take.

    Raises:
      ValueError: If shape or type of the images is wrong, or the number of titles.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[-1] != 3 or images.dtype != np.uint8 or 0 in images.shape:
        wanted = "uint8[rows, columns, H, W, 3], none of them 0"
        raise ValueError(f"images is {images.dtype}{list(images.shape)}, must be {wanted}")
    rows, columns, height, width, _ = images.shape
    if len(column_titles) != columns:
        raise ValueError(f"column_titles has {len(column_titles)} titles for {columns} columns of images")
    if row_titles is not None and len(row_titles) != rows:
        raise ValueError(f"row_titles has {len(row_titles)} titles for {rows} rows of images")

    tiles = enlarge(images)
    tile_height, tile_width = tiles.shape[2:4]
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", FONT_SIZE)
    titles = [wrap(title, font, tile_width) for title in column_titles]
    line_height = sum(font.getmetrics())
    top = MARGIN + line_height * max(title_lines or 0, *map(len, titles)) + MARGIN
    names = [wrap(title, font, tile_width) for title in row_titles or ()]
    widest = max((font.getlength(line) for lines in names for line in lines), default=0)
    edge = MARGIN + (math.ceil(widest) + MARGIN if widest else 0)

    size = (edge + columns * (tile_width + MARGIN), top + rows * (tile_height + MARGIN))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for column, lines in enumerate(titles):
        left = edge + column * (tile_width + MARGIN)
        for above, line in enumerate(reversed(lines), start=1):  # The last line is directly above the images.
            draw.text(
                (left + tile_width / 2, top - MARGIN - above * line_height), line, "black", font, anchor="ma"
            )
        for row in range(rows):
            picture.paste(Image.fromarray(tiles[row, column]), (left, top + row * (tile_height + MARGIN)))
    for row, lines in enumerate(names):
        middle = top + row * (tile_height + MARGIN) + tile_height / 2 - (len(lines) - 1) / 2 * line_height
        for below, line in enumerate(lines):
            draw.text((edge - MARGIN, middle + below * line_height), line, "black", font, anchor="rm")
    return picture


def enlarge(images: np.ndarray) -> np.ndarray:
    """Enlarges images `[…, H, W, 3]` by an integer factor to sides of at least `SMALLEST_TILE` pixels."""
    scale = -(-SMALLEST_TILE // min(images.shape[-3:-1]))
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2)


def png(picture: Image.Image) -> bytes:
    """Encodes a picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def wrap(title: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Breaks a title into at most `TITLE_LINES` lines of at most `width` pixels.

    An ellipsis marks what did not fit.
    """

    def fits(text: str) -> bool:
        return font.getlength(text) <= width

    words = title.split()
    lines: list[str] = []
    while words and len(lines) < TITLE_LINES:
        last = len(lines) == TITLE_LINES - 1
        line = words.pop(0)
        while words and fits(f"{line} {words[0]}"):
            line = f"{line} {words.pop(0)}"
        if not fits(line) or (last and words):
            while line and not fits(f"{line}…"):
                line = line[:-1]
            line = f"{line.rstrip(' ,')}…"
        lines.append(line)
    return lines
