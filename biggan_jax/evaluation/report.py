"""What a person sees of an evaluation: a table on the terminal, a picture of samples with a bar a class."""

from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich import box
from rich.console import Group
from rich.table import Table

from biggan_jax.sampling.sheets import FONT_SIZE, MARGIN, sheet

ROWS_SHOWN = 20  # of the table; with more classes, the least recognised ones
BAR_HEIGHT = 120  # pixels of a full bar
TRACK, BAR, REAL = "#e8e8e8", "#4878b0", "#202020"


def table(report: dict[str, Any]) -> Group:
    """The scores by class and over all classes, with all that they depend on underneath."""
    page = Table(box=box.SIMPLE_HEAD, show_footer=True)
    network = report["classifier"]
    page.add_column("class", "all classes")
    page.add_column("recognised", percent(report["recognised@classifier"]), justify="right")
    page.add_column("real images recognised", percent(network["test_accuracy"]), justify="right")
    page.add_column("diversity (real = 1)", ratio(report["diversity@classifier"]), justify="right")
    classes = report["classes"]
    if len(classes) > ROWS_SHOWN:
        known = [row for row in classes if row["recognised@classifier"] is not None]
        classes = sorted(known, key=lambda row: row["recognised@classifier"])[:ROWS_SHOWN]
        page.title = f"the {ROWS_SHOWN} least recognised of {len(report['classes'])} classes"
    for row in classes:
        page.add_row(
            row["name"],
            percent(row["recognised@classifier"]),
            percent(row["test_accuracy"]),
            ratio(row["diversity@classifier"]),
        )
    return Group(page, provenance(report))


def provenance(report: dict[str, Any]) -> str:
    """Where the numbers come from: samples, data and classifier, a line each."""
    network, statistics = report["classifier"], report["statistics"]
    truncation = f"truncation {report['truncation']:g}" if report["truncation"] else "untruncated"
    return (
        f"{report['num_samples']:,} samples of step {report['step']:,}, {report['resolution']} px, "
        f"{truncation}; {report['weights']} weights; {statistics['mode']} statistics "
        f"({statistics['passes']} × {statistics['batch_size']})\n"
        f"{report['data']['training']}\n"
        f"classifier {network['hash']}: recognises {percent(network['test_accuracy'])} of "
        f"{network['test_images']:,} real test images: what samples like them would reach"
    )


def picture(samples: np.ndarray, report: dict[str, Any], rows: int, columns: int) -> Image.Image:
    """Samples in columns by class; under each column a bar, the share that is recognised.

    Args:
      samples: u8[N, H, W, 3]; sample i is of class i modulo the number of classes.
      report: of `judge`.
      rows: images in a column, at most.
      columns: classes, at most; spread evenly over all of them.
    """
    classes = report["classes"]
    shown = np.linspace(0, len(classes) - 1, min(len(classes), columns)).astype(int).tolist()
    rows = min(rows, len(samples) // len(classes))
    images = np.stack([samples[row * len(classes) : (row + 1) * len(classes)][shown] for row in range(rows)])
    grid = sheet(images, [classes[label]["name"] for label in shown])
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", FONT_SIZE)
    line = sum(font.getmetrics())
    text = caption(report)
    width = max(grid.width, round(max(font.getlength(row) for row in text.splitlines())) + 2 * MARGIN)
    foot = grid.height + 2 * MARGIN + line + BAR_HEIGHT  # where bars stand
    page = Image.new("RGB", (width, foot + 2 * MARGIN + line * (1 + text.count("\n")) + MARGIN), "white")
    page.paste(grid)
    draw = ImageDraw.Draw(page)
    step = (grid.width - MARGIN) / len(shown)
    for column, label in enumerate(shown):
        left, right = MARGIN + column * step, (column + 1) * step - 1
        share, real = classes[label]["recognised@classifier"], classes[label]["test_accuracy"]
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
    return (
        f"Bars: samples of step {report['step']:,} recognised as their class, "
        f"{percent(report['recognised@classifier'])} of {report['num_samples']:,}.\n"
        f"Lines: real test images, {percent(network['test_accuracy'])} of {network['test_images']:,} "
        f"(classifier {network['hash']})."
    )


def percent(share: float | None, digits: int = 1) -> str:
    """`97.3 %`, or a dash where there is no number."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def ratio(value: float | None) -> str:
    """`0.87`, or a dash where there is no number."""
    return "–" if value is None else f"{value:.2f}"
