"""The curves of a run: losses, logits, gradients, speed, scores and singular values over the steps.

They show a collapse coming (Brock et al. 2019, section 4 and appendix F): the largest singular values of G's
weights leave their slow growth, then D's loss falls to 0 and the gradients jump.
"""

import dataclasses
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from biggan_jax.training.monitoring.rows import Row
from biggan_jax.training.step.losses import LOSSES

Column = tuple[np.ndarray, np.ndarray]  # steps and values, f64[n] each

POINTS = 400  # at most in a curve; longer ones are drawn as means of equal parts within a band of extremes
FEW_POINTS = 20  # up to so many, each point has a marker
PANEL = (6.0, 2.9)  # inches
DPI = 110
NEVER_UNKNOWN = ("d_loss", "g_loss", "d_gradient_norm", "g_gradient_norm")  # None means not finite
BLUE, ORANGE, RED, GREY = "#2f6db3", "#e0812b", "#c23b31", "#6b6b6b"
STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#80808038",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.1,
}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
      title: Title of the panel.
      curves: Label and colour of each curve, by its key in the rows.
      log: Whether the vertical axis is logarithmic.
    """

    title: str
    curves: Mapping[str, tuple[str, Any]]
    log: bool = False


LOSS_CURVES = {"d_loss": ("D", BLUE), "g_loss": ("G", ORANGE)}
PANELS = (
    Panel("Losses", LOSS_CURVES),
    Panel("D's mean logits", {"d_real": ("real images", BLUE), "d_fake": ("samples", ORANGE)}),
    Panel("Gradient norms", {"d_gradient_norm": ("D", BLUE), "g_gradient_norm": ("G", ORANGE)}, log=True),
    Panel("Images a second", {"images_per_second": ("", GREY)}),
)


PLAIN_KEYS = {key for panel in PANELS for key in panel.curves}
NO_COLUMN = (np.zeros(0), np.zeros(0))


def draw_curves(rows: Sequence[Row], loss: str = "hinge") -> bytes:
    """Draws the rows of a run.

    Args:
      rows: Rows as in `metrics.jsonl`, oldest first. Each has `step`, and any of the numbers that PANELS
        names, of scores (`fid@…`) and of `singular_values/…/1`; None is a gap. A vertical line marks a row
        where `rollbacks` goes up, or where a loss or norm becomes None, which stands for NaN and infinities.
      loss: Value of `config.loss`, for the title of the losses' panel.

    Returns:
      A PNG file.
    """
    columns = _columns(rows)
    shown = _panels_with_curves(columns, loss) or _plain_panels(loss)
    height = -(-len(shown) // 2)
    with rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        figure = Figure((2 * PANEL[0], height * PANEL[1]), dpi=DPI, layout=layout)
        FigureCanvasAgg(figure)
        grid = figure.subplots(height, 2, squeeze=False).flat
        for axes, panel in zip(grid, shown, strict=False):
            _draw_panel(axes, panel, columns, rows)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_panels(rows: Sequence[Row], loss: str = "hinge") -> dict[str, Figure]:
    """Draws each panel that has curves as a figure of its own; returns them by title. Save them in STYLE.

    Args:
      rows: See `draw_curves`.
      loss: See `draw_curves`.
    """
    columns, figures = _columns(rows), {}
    with rc_context(STYLE):
        for panel in _panels_with_curves(columns, loss):
            figures[panel.title] = figure = Figure(PANEL, layout="constrained")
            _draw_panel(figure.subplots(), panel, columns, rows)
    return figures


def thin(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, ...]:
    """Reduces a curve to at most `points` equal parts.

    Args:
      steps: Steps, f64[n].
      values: Values, f64[n].
      points: Largest number of parts.

    Returns:
      First step, mean, minimum and maximum of each part; NaN where a part has no finite value.
    """
    length = max(1, -(-len(values) // points))
    padding = np.full(-len(values) % length, np.nan)
    parts = np.ma.masked_invalid(np.concatenate([values, padding]).reshape(-1, length))
    extremes = (parts.mean(axis=1), parts.min(axis=1), parts.max(axis=1))
    return steps[::length], *(np.ma.filled(x, np.nan) for x in extremes)


def events(rows: Sequence[Row]) -> list[tuple[float, str, str]]:
    """Returns step, text and colour of each event of the run as a whole: rollbacks and broken numbers."""
    marks, rollbacks, broken = [], 0, False
    for row in rows:
        now = row.get("rollbacks") or 0
        if now > rollbacks:
            marks.append((row["step"], f"rollback {now:g}", GREY))
        was_broken, broken = broken, any(row.get(key, 0.0) is None for key in NEVER_UNKNOWN)
        if broken and not was_broken:
            marks.append((row["step"], "not finite", RED))
        rollbacks = now
    return marks


def _columns(rows: Sequence[Row]) -> dict[str, Column]:
    """Returns steps and values of each number that panels show, from the rows that have it; NaN for None."""
    lists: dict[str, tuple[list, list]] = {}
    for row in rows:
        for key, value in row.items():
            if key in PLAIN_KEYS or key.endswith("/1") or "@" in key:
                steps, values = lists.setdefault(key, ([], []))
                steps.append(row["step"])
                values.append(value)
    return {
        key: (np.array(steps, np.float64), np.array(values, np.float64))
        for key, (steps, values) in lists.items()
    }


def label_steps(axes: Axes) -> None:
    """Labels the horizontal axis with whole numbers of steps, such as 500 and 2k."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("step", loc="right")


def _plain_panels(loss: str) -> list[Panel]:
    """Returns the panels that every run has."""
    return [Panel(f"{LOSSES[loss].label} losses", LOSS_CURVES), *PANELS[1:]]


def _panels_with_curves(columns: Mapping[str, Column], loss: str) -> list[Panel]:
    scores = (Panel(key, {key: ("", BLUE)}) for key in sorted(columns) if "@" in key)
    panels = (*_plain_panels(loss), *scores, *_singular_value_panels(columns))
    return [panel for panel in panels if panel.curves.keys() & columns.keys()]


def _draw_panel(axes: Axes, panel: Panel, columns: Mapping[str, Column], rows: Sequence[Row]) -> None:
    axes.set_title(panel.title)
    axes.set_xlim(0, 1.01 * max((row["step"] or 0 for row in rows), default=1))
    label_steps(axes)
    drawn = []
    for key, (label, color) in panel.curves.items():
        steps, values = columns.get(key, NO_COLUMN)
        points, (steps, means, lows, highs) = len(steps), thin(steps, values)
        # A line through a handful of points would look like a broken plot: show the points.
        marker = "." if len(steps) <= FEW_POINTS else None
        axes.plot(steps, means, color=color, label=label or None, marker=marker)
        if points > len(steps):
            axes.fill_between(steps, lows, highs, color=color, alpha=0.18, linewidth=0)
        drawn += [lows[np.isfinite(lows)], highs[np.isfinite(highs)]]
    values = np.concatenate(drawn) if drawn else np.zeros(0)
    if panel.log:
        _scale_log(axes, values[values > 0])
    elif len(values):
        _scale_linear(axes, values, from_zero=len(panel.curves) == 1)
    for step, text, color in events(rows):
        axes.axvline(step, color=color, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.annotate(
            text,
            (step, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(2, -1),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=6.5,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5},
            color=color,
        )
    labels = [label for label, _ in dict.fromkeys(panel.curves.values()) if label]
    if labels:
        handles = dict(
            zip(*reversed(axes.get_legend_handles_labels()), strict=True)
        )  # one curve of each label
        axes.legend(
            [handles[label] for label in labels], labels, loc="upper left", bbox_to_anchor=(1, 1), borderpad=0
        )


def _scale_linear(axes: Axes, values: np.ndarray, from_zero: bool) -> None:
    """Sets limits that hold all values except those that would flatten all others."""
    low, high = np.quantile(values, (0.01, 0.99))
    reach = 2 * (high - low)
    low, high = max(values.min(), low - reach), min(values.max(), high + reach)
    margin = 0.05 * (high - low) or 0.5
    axes.set_ylim(0 if from_zero else low - margin, high + margin)


def _scale_log(axes: Axes, values: np.ndarray) -> None:
    """Makes the axis logarithmic, with numbers written out; zeros lie below its lower end."""
    if not len(values):
        return
    low, high = values.min() / 1.15, values.max() * 1.15
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = np.log10(high / low)
    if decades < 1:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=10))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def _singular_value_panels(keys: Collection[str]) -> Iterator[Panel]:
    """Yields a panel for each network, with weights coloured by their block, from input to output."""
    for network, first in {"generator": "linear", "discriminator": "conv"}.items():
        pattern = re.compile(rf"singular_values/{network}/([^/]+)(?:/.+)?/1")
        places = {key: match[1] for key in keys if (match := pattern.fullmatch(key))}

        def depth(place: str, first: str = first) -> tuple[int, str]:
            block = re.fullmatch(r"block_(\d+)", place)
            return (0 if place == first else 1 + int(block[1]) if block else 1_000), place

        order = sorted(set(places.values()), key=depth)
        shades = colormaps["viridis"](np.linspace(0, 0.92, len(order))) if order else ()
        colors = {place: tuple(shade) for place, shade in zip(order, shades, strict=True)}
        curves = {key: (place, colors[place]) for key, place in places.items()}
        ordered = dict(sorted(curves.items(), key=lambda item: order.index(item[1][0])))
        yield Panel(f"Largest singular value of each weight of the {network}", ordered, log=True)
