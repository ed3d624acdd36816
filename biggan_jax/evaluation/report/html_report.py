"""report.html: an evaluation, and what is known of its run, on one page that needs no other file.

What the run's directory lacks is left out, and of samples in a file all that such a directory would have.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from matplotlib import rc_context
from matplotlib.figure import Figure

from biggan_jax.config import flatten
from biggan_jax.evaluation.report import truncation_curve
from biggan_jax.evaluation.report.terminal import (
    class_columns,
    provenance,
    ratio,
    score_rows,
    truncation_rows,
)
from biggan_jax.runtime import html
from biggan_jax.runtime.html import Html, element
from biggan_jax.training.monitoring.curves import STYLE, draw_panels, read_rows
from biggan_jax.training.monitoring.metrics import FILE_NAME

SHEETS = 12  # of samples over time, at most: the first, the last, and some between


def render_html(report: dict[str, Any], pictures: dict[str, bytes], workdir: epath.Path | None) -> str:
    """The page.

    Args:
      report: of `judge`, as in evaluation.json.
      pictures: of `judge`, PNG files by name.
      workdir: of the run, or None if there is none.
    """
    name = workdir.name if workdir is not None else report["file"]
    parts = [
        *(element("p", line, class_="dim") for line in provenance(report).splitlines()),
        *(element("p", note, class_="note") for note in report["notes"]),
        html.two_columns(*_overview(report, pictures)),
        _beyond_is(report),
    ]
    if "nearest.png" in pictures:
        words = "Samples above, below each the training image that it is nearest to."
        pairs = _picture(pictures["nearest.png"], words)
        parts.append(html.section("The nearest training images", pairs, element("p", words, class_="dim")))
    if report["classes"]:
        parts.append(_classes(report))
    if report["truncations"]:
        parts.append(_truncations(report))
    if workdir is not None:
        parts += [*_sheets(workdir / "samples"), *_curves(workdir / FILE_NAME)]
    return html.page(f"Evaluation of {name}", *parts, _made_by(workdir))


def _overview(report: dict[str, Any], pictures: dict[str, bytes]) -> Iterator[Html]:
    """What fits on one screen: the scores, and samples."""
    yield _scores(report)
    if "evaluation.png" in pictures:
        yield html.section("Samples by class", _picture(pictures["evaluation.png"], "samples"))


def _scores(report: dict[str, Any]) -> Html:
    network, rows = report["network"], []
    for name, samples, held_out, remark in score_rows(report):
        value, plus_minus, deviation = samples.partition("± ")
        rows.append((_above(name, remark), _above(value, plus_minus + deviation), held_out))
    return html.section(
        "Scores",
        html.table(("score", "samples", "held out"), rows),
        element(
            "p",
            f"All of them by the network {network['network']}, weights {network['weights_hash'][:12]}: they "
            "compare only with scores of the same network. Held out: real images that the generator has not "
            "learnt from, in the samples' place.",
            class_="dim",
        ),
    )


def _above(text: str, remark: str) -> Html:
    """A text above a remark, where there is one."""
    return html.join([text, element("div", remark, class_="dim") if remark else None])


def _beyond_is(report: dict[str, Any]) -> Html:
    cards = []
    for section in report["beyond_is"]:
        badge = html.badge("not measured")
        if section["measured"]:
            badge = html.badge("look here", "bad") if section["flagged"] else html.badge("fine", "good")
        parts = [
            element("h3", f"{section['blind_spot']}. {section['title']} ", badge),
            element("p", section["blindness"], class_="dim"),
            element("p", section["sentence"]),
        ]
        if section.get("least_diverse"):
            rows = (
                (row["name"], *(ratio(row[key]) for key in ("ratio", "vendi", "real_vendi")))
                for row in section["least_diverse"]
            )
            header = ("class", "diversity (real = 1)", "Vendi score", "of real images")
            parts.append(html.details("The least varied classes", html.table(header, rows)))
        cards.append(html.join(parts))
    return html.section("What the Inception Score cannot see", html.cards(*cards))


def _classes(report: dict[str, Any]) -> Html:
    columns = class_columns(report)
    header = ("class", "samples", *(title for title, _ in columns.values()))
    rows = (
        (row["name"], f"{row['num_samples']:,}", *(form(row[key]) for key, (_, form) in columns.items()))
        for row in report["classes"]
    )
    return html.section("Classes", html.table(header, rows, sortable=True))


def _truncations(report: dict[str, Any]) -> Html:
    header, *rows = truncation_rows(report)
    figure = truncation_curve.draw(report["truncations"], report["network"]["network"])
    count = report["truncations"][0]["num_samples"]
    curve = _figure(figure, f"{count:,} samples at each truncation", height=3.4)
    return html.section("Truncations", html.cards(curve, html.table(header, rows)))


def _sheets(folder: epath.Path) -> Iterator[Html]:
    """The sheets of samples behind a slider, and the sheet of real images."""
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
    yield html.section("Samples over time, of the same latents", *parts)


def _curves(path: epath.Path) -> Iterator[Html]:
    try:
        figures = draw_panels(read_rows(path))
    except ValueError as error:
        yield element("p", f"{path} cannot be read: {error}", class_="note")
        return
    if figures:
        drawn = (_figure(figure, title) for title, figure in figures.items())
        yield html.section("Training", html.cards(*drawn))


def _made_by(workdir: epath.Path | None) -> Html:
    """Versions, device and config."""
    versions = {name: importlib.metadata.version(name) for name in ("biggan-jax", "jax", "flax")}
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    if jax.process_count() > 1:
        devices += f", in {jax.process_count()} processes"
    rows = [*versions.items(), ("python", platform.python_version()), ("judged on", devices)]
    parts = [html.table(("version", ""), rows)]
    if workdir is not None:
        config = flatten(json.loads((workdir / "config.json").read_bytes()))
        fields = ((field, json.dumps(value)) for field, value in config.items())
        parts.append(html.details("The run's config", html.table(("field", "value"), fields)))
    return html.section("How it was made", *parts)


def _picture(png: bytes, description: str) -> Html:
    try:
        return html.image(html.shrink(png), description)
    except (OSError, SyntaxError) as error:  # PIL raises either of a damaged file
        return element("p", f"The picture cannot be read: {error}", class_="note")


def _figure(figure: Figure, title: str, height: float = 2.5) -> Html:
    """A figure of one set of axes under its title, small, so that its text is large enough on a phone."""
    figure.set_size_inches(4.4, height)
    figure.axes[0].set_title("", loc="left")
    with rc_context(STYLE):
        return html.join([element("h3", title), html.inline_svg(figure, title)])
