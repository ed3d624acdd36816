"""Shows the runs of a sweep in one HTML file: their scores, their samples, and their curves in one figure."""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

from biggan_jax.evaluation.scores.registry import metric_of
from biggan_jax.runtime import html
from biggan_jax.runtime.html import Html, element
from biggan_jax.sweeps.naming import format_value
from biggan_jax.sweeps.results import FINISHED, NOT_STARTED, Notes, Result
from biggan_jax.sweeps.tables import (
    MAIN_METRICS,
    Column,
    best_scores,
    fields,
    format_score,
    run_names,
    scores,
    states,
)
from biggan_jax.training.monitoring.curves import STYLE, Row, label_steps, thin
from biggan_jax.training.step.losses import LOSSES

POINTS = 60  # of a curve: few enough to tell it from the others
SIZE = (4.4, 2.5)  # inches, without the legend: small, so that text is large enough on a phone
INCHES_PER_LINE = 0.17  # of the legend
LEGEND_WIDTH = 54  # characters of one line of the legend
SHEETS = (
    "The last sample sheet of each run: one latent in each row, one class in each column. Runs with the same "
    "seed and the same latent dimension use the same latents."
)
NAME_WIDTH = 18  # characters
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))


def html_summary(title: str, results: Sequence[Result], notes: Notes) -> str:
    """Returns the summary of a sweep as one HTML document, which needs no other file.

    Args:
      title: Title of the document.
      results: Results of `collect`.
      notes: Notes of `collect`.

    Returns:
      HTML.
    """
    names, state = run_names(results), states(results)
    # A phone shows the first columns. The names already hold the fields, so these come last.
    main = [names, *scores(results, MAIN_METRICS), state, *fields(results)]
    everything = [names, *scores(results), *best_scores(results)]
    return html.page(
        title,
        _table(main),
        html.details("All scores", _table(everything)) if len(everything) > 1 else None,
        *(element("p", f"{sentence}.", class_="dim") for sentence in notes.sentences),
        *(element("p", f"{warning}.", class_="note") for warning in notes.warnings),
        html.section("Samples", element("p", SHEETS, class_="dim"), html.cards(*_sheets(results))),
        html.section("Curves", html.cards(*_curves(results))),
    )


def _table(columns: Sequence[Column]) -> Html:
    names, *others = columns
    first = [_name(cell.text) for cell in names.cells]
    rest = [
        [element("b", cell.text) if cell.best else cell.text for cell in column.cells] for column in others
    ]
    titles = [_title(column.title) for column in columns]
    return html.table(titles, zip(first, *rest, strict=True), sortable=True)


def _title(title: str) -> Html:
    """Returns a column's title that can be wrapped after an @, so that columns are as narrow as numbers."""
    parts = re.findall("[^@]+@?", title)
    return html.join(element("span", part, style="display: inline-block") for part in parts)


def _name(name: str) -> Html:
    """Returns a run's name that is wrapped only where it is long."""
    return element("span", name, style=f"display: inline-block; min-width: {min(len(name), NAME_WIDTH)}ch")


def _sheets(results: Sequence[Result]) -> list[Html]:
    cards = []
    reals = (result.directory / "samples" / "real.png" for result in results)
    real = next((path for path in reals if path.exists()), None)
    if real:
        cards.append(html.join([element("h3", "Real images"), _picture(real.read_bytes(), "real images")]))
    for result in (result for result in results if result.status != NOT_STARTED):
        name = result.run.name
        mood = "good" if result.status == FINISHED else "bad" if result.error else "plain"
        differences = (f"{field}: {format_value(value)}" for field, value in result.differences.items())
        parts = [element("h3", name, " ", html.badge(result.status, mood))]
        if result.error:
            parts.append(element("p", result.error, class_="note"))
        sheets = sorted((result.directory / "samples").glob("[0-9]*.png"))
        if sheets:
            parts.append(_picture(sheets[-1].read_bytes(), f"samples of {name}"))
        main = {
            score: value for score, value in result.final.items() if metric_of(score).name in MAIN_METRICS
        }
        parts.append(
            element("p", ", ".join(f"{score} {format_score(score, value)}" for score, value in main.items()))
        )
        parts.append(html.details("Fields that differ", *(element("div", line) for line in differences)))
        if (result.directory / "curves.png").exists():
            curves = _picture((result.directory / "curves.png").read_bytes(), f"curves of {name}")
            parts.append(html.details("Curves of this run", curves))
        cards.append(html.join(parts))
    return cards


def _curves(results: Sequence[Result]) -> list[Html]:
    """Returns a figure for each number of the metrics, with a curve for each run that has it."""
    keys = dict.fromkeys(key for result in results for row in result.rows for key in row if "@" in key)
    panels: dict[str, Callable[[Row], float | None]] = {key: _number(key) for key in keys}
    losses = {LOSSES[result.run.config.loss].label for result in results}
    loss = " or ".join(sorted(losses))
    panels |= {
        f"{loss} loss of D": _number("d_loss"),
        f"{loss} loss of G": _number("g_loss"),
        "Norm of G's gradient": _number("g_gradient_norm"),
        "Largest singular value of G's weights": _largest_singular_value,
    }
    figures = []
    for title, number in panels.items():
        curves = {result.run.name: _curve(result.rows, number) for result in results}
        curves = {name: curve for name, curve in curves.items() if len(curve[0])}
        if curves:
            with rc_context(STYLE):
                figure = html.inline_svg(_figure(curves), title)
            figures.append(html.join([element("h3", title), figure]))
    return figures


def _figure(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    width, height = SIZE
    labels = ["\n".join(textwrap.wrap(name.replace(",", ", "), LEGEND_WIDTH)) for name in curves]
    columns = 2 if max(map(len, labels)) <= LEGEND_WIDTH // 2 else 1
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = Figure((width, height + -(-lines // columns) * INCHES_PER_LINE), layout="constrained")
    axes = figure.subplots()
    label_steps(axes)
    shades = colormaps["viridis"](np.linspace(0, 0.8, len(curves)))  # lighter shades vanish on white
    for number, (label, (steps, values)) in enumerate(zip(labels, curves.values(), strict=True)):
        marker = "." if len(steps) < 10 else None
        dash = DASHES[number % len(DASHES)]
        axes.plot(steps, values, color=shades[number], ls=dash, marker=marker, label=label)
    axes.margins(x=0.01)
    figure.legend(loc="outside lower left", ncols=columns, fontsize="medium")
    return figure


def _curve(rows: Sequence[Row], number: Callable[[Row], float | None]) -> tuple[np.ndarray, np.ndarray]:
    points = [(row["step"], value) for row in rows if (value := number(row)) is not None]
    steps, values = np.array(points, np.float64).reshape(-1, 2).T
    steps, values, *_ = thin(steps, values, POINTS)
    return steps, values


def _number(key: str) -> Callable[[Row], float | None]:
    return lambda row: row.get(key)


def _largest_singular_value(row: Row) -> float | None:
    values = [value for key, value in row.items() if key.startswith("singular_values/generator/")]
    return max((value for value in values if value is not None), default=None)


def _picture(png: bytes, description: str) -> Html:
    return html.image(html.shrink(png), description)
