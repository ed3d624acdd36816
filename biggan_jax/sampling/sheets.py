"""Sheets: a grid of images with the class names above its columns, as the paper's figures show samples."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST_TILE = 96  # pixels; smaller images are enlarged by a whole factor: pixels stay squares
MARGIN = 4
TITLE_LINES = 2
FONT_SIZE = 14


def sheet(images: np.ndarray, column_titles: Sequence[str]) -> Image.Image:
    """Draws a sheet.

    Args:
      images: u8[rows, columns, H, W, 3].
      column_titles: one a column; what does not fit into two lines above its column ends in an ellipsis.

    Raises:
      ValueError: images of another shape or type, or another number of titles than columns.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[-1] != 3 or images.dtype != np.uint8 or 0 in images.shape:
        wanted = "uint8[rows, columns, H, W, 3], none of them 0"
        raise ValueError(f"images: {images.dtype}{list(images.shape)}, wanted {wanted}")
    rows, columns, height, width, _ = images.shape
    if len(column_titles) != columns:
        raise ValueError(f"column_titles: {len(column_titles)} of them for {columns} columns of images")

    scale = -(-SMALLEST_TILE // min(height, width))
    tiles = images.repeat(scale, axis=2).repeat(scale, axis=3)
    tile_height, tile_width = height * scale, width * scale
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", FONT_SIZE)
    titles = [wrap(title, font, tile_width) for title in column_titles]
    line_height = sum(font.getmetrics())
    top = MARGIN + line_height * max(map(len, titles)) + MARGIN

    size = (MARGIN + columns * (tile_width + MARGIN), top + rows * (tile_height + MARGIN))
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for column, lines in enumerate(titles):
        left = MARGIN + column * (tile_width + MARGIN)
        for above, line in enumerate(reversed(lines), start=1):  # the last line stands right above the images
            draw.text(
                (left + tile_width / 2, top - MARGIN - above * line_height), line, "black", font, anchor="ma"
            )
        for row in range(rows):
            page.paste(Image.fromarray(tiles[row, column]), (left, top + row * (tile_height + MARGIN)))
    return page


def png(page: Image.Image) -> bytes:
    """The sheet as the bytes of a PNG file."""
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def wrap(title: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Breaks `title` into at most `TITLE_LINES` lines of at most `width` pixels; an ellipsis marks a loss."""

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
