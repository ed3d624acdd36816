"""summary.html: the runs of a sweep side by side, in one file: table, curves over one another, samples."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from biggan_jax.runtime import html
from biggan_jax.runtime.html import Html, element
from biggan_jax.sweeps.naming import spelled
from biggan_jax.sweeps.results import FINISHED, NOT_BEGUN, Notes, Result, kind
from biggan_jax.sweeps.tables import SHOWN, Column, best_scores, fields, form, reached, run_names, scores
from biggan_jax.training.monitoring.curves import STYLE, Row, thin

POINTS = 60  # of a curve: few enough that one can be told from the others
SIZE = (4.4, 2.5)  # inches, without the legend: small, so that text is large enough on a phone
INCHES_PER_LINE = 0.17  # of the legend
SHEETS = (
    "The last sheet of each run: a latent a row, a class a column. Runs of one seed and one length of "
    "latents have drawn the same ones."
)
NAME_WIDTH = 18  # letters
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))


def summary_page(title: str, results: Sequence[Result], notes: Notes) -> str:
    """The page; `results` are of `collect`."""
    names, state = run_names(results), reached(results)
    # What fits on a phone first. Fields last: names tell of them.
    main = [names, *scores(results, SHOWN), state, *fields(results)]
    everything = [names, *scores(results), *best_scores(results)]
    return html.page(
        title,
        _table(main),
        html.folded("All scores", _table(everything)) if len(everything) > 1 else None,
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
    """A column's title, which may be broken behind an @, so that columns are no wider than their numbers."""
    parts = re.findall("[^@]+@?", title)
    return html.joined(element("span", part, style="display: inline-block") for part in parts)


def _name(name: str) -> Html:
    """A run's name, broken into lines only where it is long."""
    return element("span", name, style=f"display: inline-block; min-width: {min(len(name), NAME_WIDTH)}ch")


def _sheets(results: Sequence[Result]) -> list[Html]:
    cards = []
    reals = (result.directory / "samples" / "real.png" for result in results)
    real = next((path for path in reals if path.exists()), None)
    if real:
        cards.append(html.joined([element("h3", "Real images"), _picture(real.read_bytes(), "real images")]))
    for result in (result for result in results if result.status != NOT_BEGUN):
        name = result.run.name
        mood = "good" if result.status == FINISHED else "bad" if result.error else "plain"
        differences = (f"{field}: {spelled(value)}" for field, value in result.differences.items())
        parts = [element("h3", name, " ", html.badge(result.status, mood))]
        if result.error:
            parts.append(element("p", result.error, class_="note"))
        sheets = sorted((result.directory / "samples").glob("[0-9]*.png"))
        if sheets:
            parts.append(_picture(sheets[-1].read_bytes(), f"samples of {name}"))
        main = {score: value for score, value in result.judged.items() if kind(score) in SHOWN}
        parts.append(
            element("p", ", ".join(f"{score} {form(score, value)}" for score, value in main.items()))
        )
        parts.append(html.folded("What it differs by", *(element("div", line) for line in differences)))
        if (result.directory / "curves.png").exists():
            curves = _picture((result.directory / "curves.png").read_bytes(), f"curves of {name}")
            parts.append(html.folded("Its curves", curves))
        cards.append(html.joined(parts))
    return cards


def _curves(results: Sequence[Result]) -> list[Html]:
    """A figure for each number, with a curve for each run that has it."""
    keys = dict.fromkeys(key for result in results for row in result.rows for key in row if "@" in key)
    panels: dict[str, Callable[[Row], float | None]] = {key: _number(key) for key in keys}
    panels |= {
        "D's hinge loss": _number("d_loss"),
        "G's hinge loss": _number("g_loss"),
        "Norm of G's gradient": _number("g_gradient_norm"),
        "Largest singular value of G's weights": _largest_singular_value,
    }
    drawn = []
    for title, number in panels.items():
        curves = {result.run.name: _curve(result.rows, number) for result in results}
        curves = {name: curve for name, curve in curves.items() if len(curve[0])}
        if curves:
            with rc_context(STYLE):
                figure = html.inline_svg(_figure(curves), title)
            drawn.append(html.joined([element("h3", title), figure]))
    return drawn


def _figure(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    width, height = SIZE
    lines = -(-len(curves) // 2)
    figure = Figure((width, height + lines * INCHES_PER_LINE), layout="constrained")
    axes = figure.subplots()
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("step", loc="right")
    shades = colormaps["viridis"](np.linspace(0, 0.8, len(curves)))  # what is lighter is lost on white
    for number, (name, (steps, values)) in enumerate(curves.items()):
        dots = "." if len(steps) < 10 else None
        axes.plot(
            steps, values, color=shades[number], ls=DASHES[number % len(DASHES)], marker=dots, label=name
        )
    axes.margins(x=0.01)
    figure.legend(loc="outside lower left", ncols=2, fontsize="medium")
    return figure


def _curve(rows: Sequence[Row], number: Callable[[Row], float | None]) -> tuple[np.ndarray, np.ndarray]:
    found = [(row["step"], value) for row in rows if (value := number(row)) is not None]
    steps, values = np.array(found, np.float64).reshape(-1, 2).T
    return thin(steps, values, POINTS)[:2]


def _number(key: str) -> Callable[[Row], float | None]:
    return lambda row: row.get(key)


def _largest_singular_value(row: Row) -> float | None:
    found = [value for key, value in row.items() if key.startswith("singular_values/generator/")]
    return max((value for value in found if value is not None), default=None)


def _picture(png: bytes, description: str) -> Html:
    return html.image(html.picture(png), description)
