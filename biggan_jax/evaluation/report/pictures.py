"""What an evaluation draws: samples with a bar a class, and samples beside their nearest training images."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from biggan_jax.evaluation.report.terminal import percent
from biggan_jax.sampling.sheets import FONT_SIZE, MARGIN, sheet

BAR_HEIGHT = 120  # pixels of a full bar
TRACK, BAR, REAL = "#e8e8e8", "#4878b0", "#202020"


def shown_classes(rows: Sequence[dict[str, Any]], columns: int) -> list[int]:
    """Labels of the classes that the picture shows, spread evenly over those that have samples."""
    present = [row["label"] for row in rows if row["num_samples"]]
    if not present:
        return []
    places = np.linspace(0, len(present) - 1, min(len(present), columns)).astype(int)
    return [present[place] for place in places]


def picture(images: np.ndarray, shown: Sequence[int], report: dict[str, Any]) -> Image.Image:
    """Samples in columns by class; where the network recognises the classes, a bar under each column is the
    share that it does, with a line for real images.

    Args:
      images: u8[rows, classes, H, W, 3].
      shown: their labels, one a column.
      report: of `judge`.
    """
    classes = [report["classes"][label] for label in shown]
    grid = sheet(images, [row["name"] for row in classes])
    recognised = f"recognised@{report['network']['network']}"
    if recognised not in classes[0]:
        return grid
    font, line = _font()
    text = caption(report)
    width = max(grid.width, round(max(font.getlength(row) for row in text.splitlines())) + 2 * MARGIN)
    foot = grid.height + 2 * MARGIN + line + BAR_HEIGHT  # where bars stand
    page = Image.new("RGB", (width, foot + 2 * MARGIN + line * (1 + text.count("\n")) + MARGIN), "white")
    page.paste(grid)
    draw = ImageDraw.Draw(page)
    step = (grid.width - MARGIN) / len(shown)
    for column, row in enumerate(classes):
        left, right = MARGIN + column * step, (column + 1) * step - 1
        share, real = row[recognised], row["test_accuracy"]
        draw.rectangle((left, foot - BAR_HEIGHT, right, foot), TRACK)
        draw.rectangle((left, foot - BAR_HEIGHT * share, right, foot), BAR)
        if real is not None:
            height = foot - BAR_HEIGHT * real
            draw.line((left, height, right, height), REAL, width=2)
        middle = ((left + right) / 2, foot - BAR_HEIGHT - MARGIN / 2)
        draw.text(middle, percent(share, 0), "black", font, anchor="ms")
    draw.multiline_text((MARGIN, foot + 2 * MARGIN), text, "black", font, spacing=line - FONT_SIZE)
    return page


def caption(report: dict[str, Any]) -> str:
    """What the picture's bars and lines are."""
    network = report["classifier"]
    share = report["scores"][f"recognised@{report['network']['network']}"]["value"]
    samples = f"samples of step {report['step']:,}" if "step" in report else "samples"
    return (
        f"Bars: {samples} recognised as their class, {percent(share)} of {report['num_samples']:,}.\n"
        f"Lines: real test images, {percent(network['test_accuracy'])} of {network['test_images']:,} "
        f"(classifier {network['hash']})."
    )


def nearest_sheet(images: np.ndarray, section: dict[str, Any], distances: Sequence[float]) -> Image.Image:
    """Samples above the training images that they are nearest to.

    Args:
      images: u8[2, pairs, H, W, 3], samples first.
      section: of blind spot 5, in evaluation.json.
      distances: relative ones, above the columns.
    """
    grid = sheet(images, [f"{distance:.2f}" for distance in distances])
    found = "suspiciously near to" if section["suspicious"] else "nearest to"
    text = (
        f"Above: samples {found} a training image; below: that image.\n"
        "Numbers: distance of the features, relative to the training image's own neighbours."
    )
    font, line = _font()
    width = max(grid.width, round(max(font.getlength(row) for row in text.splitlines())) + 2 * MARGIN)
    page = Image.new("RGB", (width, grid.height + 3 * MARGIN + 2 * line), "white")
    page.paste(grid)
    draw = ImageDraw.Draw(page)
    draw.multiline_text((MARGIN, grid.height + MARGIN), text, "black", font, spacing=line - FONT_SIZE)
    return page


def _font() -> tuple[ImageFont.FreeTypeFont, int]:
    """A font and the height of its lines."""
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", FONT_SIZE)
    return font, sum(font.getmetrics())
