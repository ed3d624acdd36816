"""The picture of a run: what is in it, what it leaves out, and that no run is too strange to be drawn."""

import io
import json
import math
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from PIL import Image

from biggan_jax.training.monitoring.curves import (
    FEW_POINTS,
    POINTS,
    draw_curves,
    draw_panels,
    events,
    thin,
)
from biggan_jax.training.monitoring.rows import read_rows
from biggan_jax.training.step.losses import LOSSES

LOOK = {
    f"singular_values/{network}/{place}": sigma
    for network, places in {
        "generator": ("block_10/conv_1/1", "block_2/norm_1/gain/1", "conv/1", "linear/1", "linear/2"),
        "discriminator": ("attention/o/1", "block_0/conv_1/1", "conv/1", "linear/1"),
    }.items()
    for place, sigma in zip(places, (1.5, 2.0, 3.0, 9.0, 1.0), strict=False)
}


def row(step: int, **numbers):
    usual = {
        "d_loss": 1.5,
        "g_loss": 0.3,
        "d_real": 0.5,
        "d_fake": -0.5,
        "d_gradient_norm": 4.0,
        "g_gradient_norm": 9.0,
        "images_per_second": 400.0,
    }
    return {"step": step} | usual | numbers


@pytest.fixture
def drawn(monkeypatch):
    """Draws rows; returns the curves by panel and label, and the limits of each panel's values."""

    def draw(rows):
        curves, panels = {}, []
        plot = Axes.plot

        def spy(axes, x, y, **style):
            name = (axes.get_title(loc="left"), style["label"])
            curves.setdefault(name, []).append((np.asarray(x), np.asarray(y)))
            if axes not in panels:
                panels.append(axes)
            return plot(axes, x, y, **style)

        monkeypatch.setattr(Axes, "plot", spy)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = Image.open(io.BytesIO(draw_curves(rows)))
        monkeypatch.undo()
        assert picture.format == "PNG" and picture.width == 1320
        return curves, {axes.get_title(loc="left"): axes for axes in panels}

    return draw


def test_each_number_is_drawn_in_its_panel_over_its_steps(drawn):
    rows = [row(10 * i, d_loss=i, d_fake=-2.0 * i) for i in range(1, 6)]
    curves, panels = drawn(rows)
    assert list(panels) == ["Hinge losses", "D's mean logits", "Gradient norms", "Images a second"]
    ((steps, values),) = curves["Hinge losses", "D"]
    assert steps.tolist() == [10, 20, 30, 40, 50] and values.tolist() == [1, 2, 3, 4, 5]
    assert curves["D's mean logits", "samples"][0][1].tolist() == [-2, -4, -6, -8, -10]
    assert panels["Gradient norms"].get_yscale() == "log" and panels["Hinge losses"].get_yscale() == "linear"
    assert panels["Images a second"].get_ylim()[0] == 0


def test_singular_values_are_drawn_where_there_was_a_look_from_input_to_output(drawn):
    rows = [row(step, **(LOOK if step % 3 == 0 else {})) for step in range(1, 10)]
    curves, panels = drawn(rows)
    name = "Largest singular value of each weight of the {}"
    assert [text.get_text() for text in panels[name.format("generator")].get_legend().get_texts()] == [
        "linear",
        "block_2",
        "block_10",
        "conv",
    ]
    assert [text.get_text() for text in panels[name.format("discriminator")].get_legend().get_texts()] == [
        "conv",
        "block_0",
        "attention",
        "linear",
    ]
    ((steps, values),) = curves[name.format("generator"), "linear"]  # the largest of each weight alone
    assert steps.tolist() == [3, 6, 9] and values.tolist() == [9, 9, 9]


@pytest.mark.parametrize("name", LOSSES)
def test_the_panel_of_the_losses_is_named_after_the_loss(name):
    (title,) = draw_panels([{"step": 1, "d_loss": 1.0}], name)
    assert title == f"{LOSSES[name].label} losses"


@pytest.mark.parametrize(("count", "marked"), [(1, True), (3, True), (FEW_POINTS, True), (50, False)])
def test_a_curve_of_few_points_shows_each_of_them(count, marked):
    rows = [{"step": step, "singular_values/generator/linear/1": 2.0} for step in range(1, count + 1)]
    (figure,) = draw_panels(rows).values()
    assert (figure.axes[0].lines[0].get_marker() == ".") == marked


def test_scores_that_few_rows_have_are_drawn_in_a_panel_each(drawn):
    scores = {3: {"fid@classifier": 9.0, "is@classifier": 2.0}, 6: {"fid@classifier": 4.0}}
    curves, panels = drawn([row(step, **scores.get(step, {})) for step in range(1, 8)])
    ((steps, values),) = curves["fid@classifier", None]
    assert steps.tolist() == [3, 6] and values.tolist() == [9, 4]
    assert "is@classifier" in panels and panels["fid@classifier"].get_ylim()[0] == 0


def test_each_panel_that_has_curves_is_a_figure_of_its_own_too():
    rows = [{"step": step, "d_loss": float(step), "fid@classifier": 3.0} for step in range(1, 6)]
    found = draw_panels([*rows, row(6, d_loss=None), {"step": 9}])
    assert list(found) == [
        "Hinge losses",
        "D's mean logits",
        "Gradient norms",
        "Images a second",
        "fid@classifier",
    ]
    assert list(draw_panels(rows)) == ["Hinge losses", "fid@classifier"] and draw_panels([]) == {}
    (axes,) = found["Hinge losses"].axes
    assert axes.get_xlim()[1] >= 9 and axes.get_title(loc="left") == "Hinge losses"
    assert axes.lines[0].get_ydata()[:5].tolist() == [1, 2, 3, 4, 5]
    assert [text.get_text() for text in axes.texts] == ["not finite"]


def test_a_long_run_is_drawn_with_few_points_of_which_none_is_lost(drawn):
    rows = [
        row(step, g_loss=math.sin(step), d_loss=100.0 if step == 71_234 else 1.0) for step in range(100_000)
    ]
    curves, panels = drawn(rows)
    for ((steps, values),) in curves.values():
        assert len(steps) == len(values) <= POINTS
    band = panels["Hinge losses"].collections[0]
    assert band.get_paths()[0].vertices[:, 1].max() == 100.0


def test_thinning_takes_means_and_extremes_of_equal_parts():
    steps, values = np.arange(10.0), np.array([1, 3, 2, 4, 6, 8, np.nan, 5, np.nan, np.nan])
    found = thin(steps, values, points=4)
    expected = [[0, 3, 6, 9], [2, 6, 5, np.nan], [1, 4, 5, np.nan], [3, 8, 5, np.nan]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [1, 2, 399, 400, 401, 799, 800, 801])
def test_thinning_keeps_the_overall_mean_and_never_exceeds_its_points(count):
    values = np.random.default_rng(count).standard_normal(count)
    steps, means, lows, highs = thin(np.arange(count), values)
    assert len(steps) <= POINTS and lows.min() == values.min() and highs.max() == values.max()
    lengths = np.diff(np.append(steps, count))
    assert np.dot(means, lengths) / count == pytest.approx(values.mean(), abs=1e-12)


def test_one_wild_row_does_not_flatten_all_others(drawn):
    rows = [row(step, d_loss=1 + step % 2) for step in range(1, 300)] + [row(300, d_loss=1e9)]
    low, high = drawn(rows)[1]["Hinge losses"].get_ylim()
    assert low < 0.3 and 2 < high < 10


def test_rollbacks_and_what_is_not_finite_are_marked_once_each():
    rows = [
        row(1, images_per_second=None),
        row(2, d_loss=None),
        row(3, g_gradient_norm=None),
        row(2, rollbacks=1),
        row(3, rollbacks=1),
        row(4, rollbacks=1, g_loss=None),
        row(1, rollbacks=3),
    ]
    found = [(step, text) for step, text, _ in events(rows)]
    assert found == [(2, "not finite"), (2, "rollback 1"), (4, "not finite"), (1, "rollback 3")]


def test_marks_stand_in_every_panel(drawn):
    panels = drawn([row(1), row(2, rollbacks=1), row(3, rollbacks=1)])[1]
    for axes in panels.values():
        assert [text.get_text() for text in axes.texts] == ["rollback 1"]
        assert axes.lines[-1].get_xdata() == [2, 2]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(1)],
        [{"step": 1}],
        [row(1, images_per_second=None)],
        [row(step, d_gradient_norm=0.0, g_gradient_norm=0.0) for step in (1, 2)],  # nothing for a log axis
        [row(step, d_gradient_norm=0.0) for step in (1, 2)],
        [dict.fromkeys(row(1), None) | {"step": step} for step in (1, 2)],
        [row(1, **LOOK)],
        [row(1, **dict.fromkeys(LOOK))],
        [row(step, d_gradient_norm=10.0**-step, g_gradient_norm=10.0**step) for step in range(1, 30)],
    ],
)
def test_no_run_is_too_strange_to_be_drawn(drawn, rows):
    drawn(rows)


def test_steps_are_whole_numbers_however_few_they_are(drawn):
    (axes, *_) = drawn([row(step) for step in range(1, 5)])[1].values()
    assert {tick % 1 for tick in axes.get_xticks()} == {0}
    assert "m" not in "".join(label.get_text() for label in axes.get_xticklabels())


def test_drawing_leaves_no_trace_in_the_process():
    before = dict(matplotlib.rcParams)
    draw_curves([row(1), row(2)])
    assert dict(matplotlib.rcParams) == before and not Gcf.get_all_fig_managers()


def test_the_reader_passes_over_a_line_that_is_still_being_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_rows(path) == []
    rows = [row(1), row(2, d_loss=None)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step": 3, "d_lo')
    assert read_rows(path) == rows


@pytest.mark.parametrize(
    "damaged",
    [b"\xff\x00", b"[1]", b'{"d_loss": 1.0}', b'{"step": "2"}', b'{"step": 2, "d_loss": NaN}', b"[" * 5000],
)
def test_the_reader_leaves_out_a_damaged_line_with_a_warning(tmp_path, caplog, damaged):
    path = tmp_path / "metrics.jsonl"
    first, last = (json.dumps(row(step)).encode() + b"\n" for step in (1, 3))
    path.write_bytes(first + damaged + b"\n" + last)
    assert read_rows(path) == [row(1), row(3)]
    assert f"{path}: 1 of 3 lines are damaged and left out" in caplog.text
