"""The curves of a run: losses, logits, gradients, speed, scores and singular values against the step.

What a collapse looks like beforehand (Brock et al. 2019, section 4 and appendix F): the largest singular
values of G's weights leave their slow growth, then D's loss falls to 0 and the gradients jump.
"""

import dataclasses
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

Row = Mapping[str, float | None]
Column = tuple[np.ndarray, np.ndarray]  # steps and values, f64[n] each

POINTS = 400  # of a curve, at most; longer ones are drawn as means of equal parts within a band of extremes
PANEL = (6.0, 2.9)  # inches
DPI = 110
NEVER_UNKNOWN = ("d_loss", "g_loss", "d_gradient_norm", "g_gradient_norm")  # None means not finite
BLUE, ORANGE, RED, GREY = "#2f6db3", "#e0812b", "#c23b31", "#6b6b6b"
STYLE = {
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
    """One set of axes: `curves` is the label and colour of each, by its key in the rows."""

    title: str
    curves: Mapping[str, tuple[str, Any]]
    log: bool = False


PANELS = (
    Panel("Hinge losses", {"d_loss": ("D", BLUE), "g_loss": ("G", ORANGE)}),
    Panel("D's mean logits", {"d_real": ("real images", BLUE), "d_fake": ("samples", ORANGE)}),
    Panel("Gradient norms", {"d_gradient_norm": ("D", BLUE), "g_gradient_norm": ("G", ORANGE)}, log=True),
    Panel("Images a second", {"images_per_second": ("", GREY)}),
)


PLAIN_KEYS = {key for panel in PANELS for key in panel.curves}
NO_COLUMN = (np.zeros(0), np.zeros(0))


def read_rows(path: Path) -> list[dict[str, float | None]]:
    """The rows of a `metrics.jsonl`, without a last line that is still being written."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def draw_curves(rows: Sequence[Row]) -> bytes:
    """Draws the rows of a run.

    Args:
      rows: as in `metrics.jsonl`, oldest first. Each has `step`, and any of the numbers that PANELS names, of
        scores (`fid@…`) and of `singular_values/…/1`; None is a gap. Where the count in `rollbacks` goes up,
        or a loss or norm becomes None, which stands for NaN and infinities, a vertical line says so.

    Returns:
      A PNG file.
    """
    columns = _columns(rows)
    shown = _panels_with_curves(columns) or list(PANELS)
    height = -(-len(shown) // 2)
    with rc_context(STYLE):
        figure = Figure((2 * PANEL[0], height * PANEL[1]), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
        grid = figure.subplots(height, 2, squeeze=False).flat
        for axes, panel in zip(grid, shown, strict=False):
            _draw_panel(axes, panel, columns, rows)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_panels(rows: Sequence[Row]) -> dict[str, Figure]:
    """The same, but each panel that has curves as a figure of its own, by its title. Save them in STYLE."""
    columns, found = _columns(rows), {}
    with rc_context(STYLE):
        for panel in _panels_with_curves(columns):
            found[panel.title] = figure = Figure(PANEL, layout="constrained")
            _draw_panel(figure.subplots(), panel, columns, rows)
    return found


def thin(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, ...]:
    """First step, mean, minimum and maximum of at most `points` equal parts; NaN where a part has no number.

    Args:
      steps: f64[n].
      values: f64[n].
    """
    length = max(1, -(-len(values) // points))
    padding = np.full(-len(values) % length, np.nan)
    parts = np.ma.masked_invalid(np.concatenate([values, padding]).reshape(-1, length))
    extremes = (parts.mean(axis=1), parts.min(axis=1), parts.max(axis=1))
    return steps[::length], *(np.ma.filled(x, np.nan) for x in extremes)


def events(rows: Sequence[Row]) -> list[tuple[float, str, str]]:
    """Step, text and colour of what happened to the run as a whole."""
    found, rollbacks, broken = [], 0, False
    for row in rows:
        now = row.get("rollbacks") or 0
        if now > rollbacks:
            found.append((row["step"], f"rollback {now:g}", GREY))
        was_broken, broken = broken, any(row.get(key, 0.0) is None for key in NEVER_UNKNOWN)
        if broken and not was_broken:
            found.append((row["step"], "not finite", RED))
        rollbacks = now
    return found


def _columns(rows: Sequence[Row]) -> dict[str, Column]:
    """Steps and values of each number that can be drawn, from the rows that have it; NaN for None."""
    lists: dict[str, tuple[list, list]] = {}
    for row in rows:
        for key, value in row.items():
            if key in PLAIN_KEYS or key.endswith("/1") or "@" in key:
                steps, values = lists.setdefault(key, ([], []))
                steps.append(row["step"])
                values.append(value)
    return {key: tuple(np.array(x, np.float64) for x in column) for key, column in lists.items()}


def _panels_with_curves(columns: Mapping[str, Column]) -> list[Panel]:
    scores = (Panel(key, {key: ("", BLUE)}) for key in sorted(columns) if "@" in key)
    panels = (*PANELS, *scores, *_singular_value_panels(columns))
    return [panel for panel in panels if panel.curves.keys() & columns.keys()]


def _draw_panel(axes: Axes, panel: Panel, columns: Mapping[str, Column], rows: Sequence[Row]) -> None:
    axes.set_title(panel.title)
    axes.set_xlim(0, 1.01 * max((row["step"] for row in rows), default=1))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("step", loc="right")
    drawn = []
    for key, (label, color) in panel.curves.items():
        steps, values = columns.get(key, NO_COLUMN)
        points, (steps, means, lows, highs) = len(steps), thin(steps, values)
        axes.plot(steps, means, color=color, label=label or None, marker="." if len(steps) == 1 else None)
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
    """Limits that all values fit between, but for those which would flatten all others."""
    low, high = np.quantile(values, (0.01, 0.99))
    reach = 2 * (high - low)
    low, high = max(values.min(), low - reach), min(values.max(), high + reach)
    margin = 0.05 * (high - low) or 0.5
    axes.set_ylim(0 if from_zero else low - margin, high + margin)


def _scale_log(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis with numbers written out; what is 0 falls out of it at the bottom."""
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
    """A panel for each network, its weights coloured by the block they are in, from input to output."""
    for network, first in {"generator": "linear", "discriminator": "conv"}.items():
        found = re.compile(rf"singular_values/{network}/([^/]+)(?:/.+)?/1")
        places = {key: match[1] for key in keys if (match := found.fullmatch(key))}

        def depth(place: str, first: str = first) -> tuple[int, str]:
            block = re.fullmatch(r"block_(\d+)", place)
            return (0 if place == first else 1 + int(block[1]) if block else 1_000), place

        order = sorted(set(places.values()), key=depth)
        shades = colormaps["viridis"](np.linspace(0, 0.92, len(order))) if order else ()
        colors = {place: tuple(shade) for place, shade in zip(order, shades, strict=True)}
        curves = {key: (place, colors[place]) for key, place in places.items()}
        ordered = dict(sorted(curves.items(), key=lambda item: order.index(item[1][0])))
        yield Panel(f"Largest singular value of each weight of the {network}", ordered, log=True)
