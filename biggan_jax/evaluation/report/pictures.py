"""The pictures of a report: samples by class, and samples above their nearest training images."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from biggan_jax.evaluation.report.schema import ClassRow, Report
from biggan_jax.evaluation.scores.formats import percent
from biggan_jax.evaluation.scores.registry import METRICS
from biggan_jax.evaluation.scoring import TEST_ACCURACY
from biggan_jax.sampling.sheets import FONT_SIZE, MARGIN, sheet

BAR_HEIGHT = 120  # pixels of a full bar
TRACK, BAR, REAL = "#e8e8e8", "#4878b0", "#202020"


def shown_classes(rows: Sequence[ClassRow], columns: int) -> list[int]:
    """Returns labels for the columns of a picture, spread evenly over the classes that have samples.

    Args:
      rows: The classes.
      columns: Largest number of columns.
    """
    present = [row.label for row in rows if row.num_samples]
    if not present:
        return []
    places = np.linspace(0, len(present) - 1, min(len(present), columns)).astype(int)
    return [present[place] for place in places]


def samples_by_class(images: np.ndarray, shown: Sequence[int], report: Report) -> Image.Image:
    """Draws samples in a column per class, above a bar if the network recognises the classes.

    The bar is the share of the samples that are recognised as the class; a line marks the share of held-out
    images.

    Args:
      images: u8[rows, classes, H, W, 3].
      shown: Labels of the columns.
      report: The report.
    """
    classes = [report.classes[label] for label in shown]
    grid = sheet(images, [row.name for row in classes])
    recognised = METRICS["recognised"].full_name(report.network.network)
    if recognised not in classes[0].values or report.classifier is None:
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
        share, real = row.values[recognised] or 0.0, row.values.get(TEST_ACCURACY)
        draw.rectangle((left, foot - BAR_HEIGHT, right, foot), TRACK)
        draw.rectangle((left, foot - BAR_HEIGHT * share, right, foot), BAR)
        if real is not None:
            height = foot - BAR_HEIGHT * real
            draw.line((left, height, right, height), REAL, width=2)
        middle = ((left + right) / 2, foot - BAR_HEIGHT - MARGIN / 2)
        draw.text(middle, percent(share, 0), "black", font, anchor="ms")
    draw.multiline_text((MARGIN, foot + 2 * MARGIN), text, "black", font, spacing=line - FONT_SIZE)
    return page


def caption(report: Report) -> str:
    """Returns the caption of the bars and lines."""
    assert report.classifier is not None
    share = report.scores[METRICS["recognised"].full_name(report.network.network)].value
    step = report.samples.step
    samples = "samples" if step is None else f"samples of step {step:,}"
    accuracy, count = report.classifier.test_accuracy, report.classifier.test_images
    return (
        f"Bars: {samples} recognised as the requested class, {percent(share)} of "
        f"{report.samples.num_samples:,}.\n"
        f"Lines: held-out images, {percent(accuracy)} of {count:,} (classifier {report.classifier.hash})."
    )


def nearest_sheet(images: np.ndarray, suspicious: bool, distances: Sequence[float]) -> Image.Image:
    """Draws samples above the training images nearest to them.

    Args:
      images: u8[2, pairs, H, W, 3], samples first.
      suspicious: Whether the samples are suspiciously near.
      distances: Relative distances, for the head of each column.
    """
    grid = sheet(images, [f"{distance:.2f}" for distance in distances])
    near = "samples that are suspiciously near to a training image" if suspicious else "samples"
    text = (
        f"Above: {near}; below: the training image nearest to each.\n"
        "Numbers: distance of the features, relative to the neighbours of the training image."
    )
    font, line = _font()
    width = max(grid.width, round(max(font.getlength(row) for row in text.splitlines())) + 2 * MARGIN)
    page = Image.new("RGB", (width, grid.height + 3 * MARGIN + 2 * line), "white")
    page.paste(grid)
    draw = ImageDraw.Draw(page)
    draw.multiline_text((MARGIN, grid.height + MARGIN), text, "black", font, spacing=line - FONT_SIZE)
    return page


def _font() -> tuple[ImageFont.FreeTypeFont, int]:
    """Returns a font and the height of its lines."""
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", FONT_SIZE)
    return font, sum(font.getmetrics())
