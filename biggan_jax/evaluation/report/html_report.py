"""report.html: an evaluation, and what the run has recorded of itself, in one file that needs no other.

Parts that a run has not written are left out; samples from a file have none of them.
"""

import json
import platform
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from etils import epath
from matplotlib import rc_context
from matplotlib.figure import Figure

from biggan_jax.config import flatten
from biggan_jax.evaluation.report import truncation_curve
from biggan_jax.evaluation.report.schema import BlindSpot, Report
from biggan_jax.evaluation.report.terminal import (
    class_columns,
    provenance,
    score_rows,
    truncation_rows,
)
from biggan_jax.evaluation.scores.formats import ratio
from biggan_jax.runtime import html
from biggan_jax.runtime.html import Html, element
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.runtime.version import versions
from biggan_jax.training.monitoring.curves import STYLE, draw_panels
from biggan_jax.training.monitoring.metrics import FILE_NAME
from biggan_jax.training.monitoring.rows import whole_rows
from biggan_jax.training.run.saved_run import recorded_loss

SHEETS = 12  # of samples over time, at most: the first, the last, and some between
ABOUT_TRAINING_SCORES = "during_training.json"  # in the run's folder `evaluation`


def render_html(report: Report, pictures: Mapping[str, bytes], workdir: epath.Path | None) -> str:
    """Renders the report.

    Args:
      report: The report.
      pictures: PNG files by name.
      workdir: Directory of the run, or None without a run.

    Returns:
      The HTML document.
    """
    name = workdir.name if workdir is not None else report.samples.file
    parts: list[Html] = [
        *(element("p", line, class_="dim") for line in provenance(report).splitlines()),
        *(element("p", note, class_="note") for note in report.notes),
        html.two_columns(*_overview(report, pictures)),
        _blind_spots(report),
    ]
    if "nearest.png" in pictures:
        parts.append(html.section("The nearest training images", _picture(pictures["nearest.png"], NEAREST)))
    if class_columns(report):
        parts.append(_classes(report))
    if report.truncations:
        parts.append(_truncations(report))
    if workdir is not None:
        parts += [*_sheets(workdir / "samples"), *_curves(report, workdir)]
    return html.page(f"Evaluation of {name}", *parts, _made_by(workdir))


NEAREST = "samples, and below each sample the training image nearest to it"


def _overview(report: Report, pictures: Mapping[str, bytes]) -> Iterator[Html]:
    """Yields the first screen: scores and samples."""
    yield _scores(report)
    if "evaluation.png" in pictures:
        yield html.section("Samples by class", _picture(pictures["evaluation.png"], "samples"))


def _scores(report: Report) -> Html:
    rows = []
    for row in score_rows(report):
        value, plus_minus, deviation = row.samples.partition("± ")
        rows.append((_above(row.name, row.remark), _above(value, plus_minus + deviation), row.held_out))
    network = report.network
    words = (
        f"All scores use the feature network {network.network} with the weights {network.weights_hash[:12]}, "
        "and compare only with scores of the same network. The column “held out” has the scores of real "
        "images that the generator has not learnt from: perfect samples would get these."
    )
    table = html.table(("score", "samples", "held out"), rows)
    return html.section("Scores", table, element("p", words, class_="dim"))


def _above(text: str, remark: str) -> Html:
    """Puts a text above its remark."""
    return html.join([text, element("div", remark, class_="dim") if remark else None])


def _blind_spots(report: Report) -> Html:
    cards = [_card(section) for section in report.blind_spots]
    return html.section("Blind spots of the Inception Score", html.cards(*cards))


def _card(section: BlindSpot) -> Html:
    badge = html.badge("not measured")
    if section.measured:
        badge = html.badge("look here", "bad") if section.flagged else html.badge("fine", "good")
    parts = [
        element("h3", f"{section.number}. {section.title} ", badge),
        element("p", section.blindness, class_="dim"),
        element("p", section.sentence),
    ]
    if section.least_diverse:
        rows = (
            (row.name, *(ratio(value) for value in (row.ratio, row.vendi, row.real_vendi)))
            for row in section.least_diverse
        )
        header = ("class", "diversity (real = 1)", "Vendi score", "of real images")
        parts.append(html.details("The least diverse classes", html.table(header, rows)))
    return html.join(parts)


def _classes(report: Report) -> Html:
    columns = class_columns(report)
    header = ("class", "samples", *(column.title for column in columns.values()))
    rows = (
        (
            row.name,
            f"{row.num_samples:,}",
            *(column.format(row.values[key]) for key, column in columns.items()),
        )
        for row in report.classes
    )
    return html.section("Classes", html.table(header, rows, sortable=True))


def _truncations(report: Report) -> Html:
    header, *rows = truncation_rows(report)
    figure = truncation_curve.draw(report.truncations, report.network.network)
    count = report.truncations[0].num_samples
    curve = _figure(figure, f"{count:,} samples at each truncation", height=3.4)
    return html.section("Truncations", html.cards(curve, html.table(header, rows)))


def _sheets(folder: epath.Path) -> Iterator[Html]:
    """Yields the sheets of samples behind a slider, and the sheet of real images."""
    steps = sorted(path for path in folder.glob("*.png") if path.stem.isdigit()) if folder.is_dir() else []
    if not steps:
        return
    places = np.unique(np.linspace(0, len(steps) - 1, SHEETS).round().astype(int))
    shown = [
        (f"step {int(path.stem):,}", _picture(path.read_bytes(), "samples"))
        for path in (steps[place] for place in places)
    ]
    parts = [html.slideshow(shown)]
    if (folder / "real.png").exists():
        parts.append(html.details("Real images", _picture((folder / "real.png").read_bytes(), "real images")))
    yield html.section("Samples of the same latents over time", *parts)


def _curves(report: Report, workdir: epath.Path) -> Iterator[Html]:
    """Yields the curves of the run, with the reason why its scores differ from those above."""
    rows, remark = whole_rows(workdir / FILE_NAME)
    figures = draw_panels(rows, recorded_loss(workdir))
    if remark:
        yield element("p", remark, class_="note")
    if not figures:
        return
    parts = [html.cards(*(_figure(figure, title) for title, figure in figures.items()))]
    scored = sorted({name for row in rows for name in row if "@" in name} & set(report.scores))
    if scored:
        parts.insert(0, element("p", _about_training_scores(report, workdir, scored), class_="dim"))
    yield html.section("Training", *parts)


def _about_training_scores(report: Report, workdir: epath.Path, scored: list[str]) -> str:
    """Explains why the run and the evaluation have different values of the same scores."""
    here = f"{report.samples.num_samples:,} samples and {report.reference.images or 0:,} real images"
    there = "the number of samples that config.evaluation gives"
    path = workdir / "evaluation" / ABOUT_TRAINING_SCORES
    if path.exists():
        try:
            about = parse_json(path.read_bytes())
            there = f"{about['num_samples']:,} samples and {about['reference_images']:,} real images"
        except (ValueError, KeyError, TypeError):
            pass  # a damaged file costs a number in a sentence
    return (
        f"The curves of {' and '.join(scored)} come from evaluations during training, with untruncated "
        f"latents, {there}. The table of scores above comes from this evaluation, with {here}. IS and FID "
        "depend on these counts, so the numbers differ."
    )


def _made_by(workdir: epath.Path | None) -> Html:
    """Returns versions, device and config."""
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    if jax.process_count() > 1:
        devices += f", in {jax.process_count()} processes"
    rows = [*versions(("jax", "flax")).items(), ("python", platform.python_version())]
    rows.append(("evaluated on", devices))
    parts = [html.table(("version", ""), rows)]
    if workdir is not None:
        config = flatten(parse_json((workdir / "config.json").read_bytes()))
        fields = ((field, json.dumps(value)) for field, value in config.items())
        parts.append(html.details("The config of the run", html.table(("field", "value"), fields)))
    return html.section("How it was made", *parts)


def _picture(png: bytes, description: str) -> Html:
    try:
        return html.image(html.shrink(png), description)
    except (OSError, SyntaxError) as error:  # PIL raises either for a damaged file
        return element("p", f"The picture cannot be read: {error}", class_="note")


def _figure(figure: Figure, title: str, height: float = 2.5) -> Html:
    """Returns a figure of one set of axes under its title, small, so that its text is legible on a phone."""
    figure.set_size_inches(4.4, height)
    figure.axes[0].set_title("", loc="left")
    with rc_context(STYLE):
        return html.join([element("h3", title), html.inline_svg(figure, title)])
