"""The pictures of an evaluation: the right images, in their places, with bars of the right height."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from reports import make_report, tagged_samples

from biggan_jax.evaluation.report.pictures import (
    BAR,
    BAR_HEIGHT,
    REAL,
    nearest_sheet,
    samples_by_class,
    shown_classes,
)
from biggan_jax.evaluation.report.schema import Report


def test_the_picture_shows_samples_under_the_name_of_their_class_and_a_bar_of_the_right_height():
    page = np.asarray(samples_by_class(tagged_samples(2, 3), [0, 1, 2], Report.from_json(make_report())))
    colours = {tuple(colour) for colour in page.reshape(-1, 3).tolist()}
    for label in range(3):
        first, second = ((label * 100, row * 50, 7) for row in (0, 1))
        assert first in colours and second in colours
        places = np.argwhere((page == first).all(axis=-1))
        middle = int(places[:, 1].mean())
        column = page[:, middle]
        bar = (column == Image.new("RGB", (1, 1), BAR).getpixel((0, 0))).all(axis=-1).sum()
        line = (column == Image.new("RGB", (1, 1), REAL).getpixel((0, 0))).all(axis=-1).sum()
        assert bar == pytest.approx(BAR_HEIGHT * label / 3, abs=3)
        assert line == (2 if label else 0)


def test_where_the_network_does_not_recognise_classes_there_are_samples_without_bars():
    report = make_report()
    with_bars = samples_by_class(tagged_samples(2, 3), [0, 1, 2], Report.from_json(report))
    for row in report["classes"]:
        del row["recognised@classifier"]
    without = samples_by_class(tagged_samples(2, 3), [0, 1, 2], Report.from_json(report))
    assert without.height < with_bars.height - BAR_HEIGHT


def test_shown_classes_are_spread_over_those_that_have_samples():
    rows = Report.from_json(make_report(classes=100)).classes
    assert shown_classes(rows, 12)[0] == 0 and shown_classes(rows, 12)[-1] == 99
    assert len(shown_classes(rows, 12)) == 12 and shown_classes(rows[:5], 12) == [0, 1, 2, 3, 4]
    rows[:50] = [dataclasses.replace(row, num_samples=0) for row in rows[:50]]
    assert shown_classes(rows, 2) == [50, 99]
    assert shown_classes([], 10) == []


@pytest.mark.parametrize("suspicious", [False, True])
def test_the_sheet_of_nearest_images_has_samples_above_their_neighbours(suspicious):
    images = tagged_samples(2, 2)
    page = np.asarray(nearest_sheet(images, suspicious, [0.0, 0.25]))
    for column in range(2):
        above, below = (
            np.argwhere((page == (column * 100, row * 50, 7)).all(axis=-1)).mean(axis=0) for row in (0, 1)
        )
        assert above[0] < below[0] and above[1] == below[1]
