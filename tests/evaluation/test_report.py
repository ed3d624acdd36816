"""The table and the picture: right numbers in the right places, at any number of classes."""

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from biggan_jax.evaluation.report import BAR, BAR_HEIGHT, REAL, picture, table


def make_report(classes=3, **fields):
    """Class i is recognised in i of `classes` cases."""
    rows = [
        {
            "label": label,
            "name": f"class {label}",
            "num_samples": 4,
            "recognised@classifier": label / classes,
            "diversity@classifier": 0.5 if label else None,
            "test_accuracy": 0.75 if label else None,
        }
        for label in range(classes)
    ]
    return {
        "step": 1234,
        "weights": "average (EMA)",
        "statistics": {"mode": "standing", "passes": 20, "batch_size": 64},
        "truncation": 0.0,
        "num_samples": 4 * classes,
        "resolution": 16,
        "data": {"training": "Blobs; train: 300", "source": "blobs", "test": ""},
        "classifier": {"hash": "0123456789ab", "test_accuracy": 0.912, "test_images": 10_000},
        "recognised@classifier": 0.853,
        "diversity@classifier": 0.77,
        "classes": rows,
    } | fields


def printed(report, width=120):
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(table(report))
    return console.export_text()


def test_the_table_has_each_score_and_all_that_it_depends_on():
    lines = printed(make_report()).splitlines()
    cells = {tuple(line.split()) for line in lines}
    assert ("class", "2", "66.7", "%", "75.0", "%", "0.50") in cells
    assert ("class", "0", "0.0", "%", "–", "–") in cells
    assert ("all", "classes", "85.3", "%", "91.2", "%", "0.77") in cells
    text = " ".join(" ".join(lines).split())
    for origin in (
        "12 samples",
        "step 1,234",
        "16 px",
        "untruncated",
        "EMA",
        "standing statistics (20 × 64)",
    ):
        assert origin in text
    for origin in ("Blobs; train: 300", "classifier 0123456789ab", "10,000 real test images"):
        assert origin in text
    assert "truncation 0.5" in printed(make_report(truncation=0.5))


def test_of_many_classes_the_table_shows_the_least_recognised():
    text = printed(make_report(classes=1000, num_samples=4000))
    assert "20 least recognised of 1000" in text
    assert "class 19 " in text and "class 20 " not in text
    rows = make_report(classes=30)
    rows["classes"][7]["recognised@classifier"] = None  # no samples of it
    assert "class 7 " not in printed(rows)


def test_the_picture_shows_samples_under_the_name_of_their_class_and_a_bar_of_the_right_height():
    samples = np.zeros((12, 16, 16, 3), np.uint8)
    for index in range(12):
        samples[index] = (index % 3 * 100, index // 3 * 50, 7)  # red says the class, green the row
    page = np.asarray(picture(samples, make_report(), rows=2, columns=10))
    colours = {tuple(colour) for colour in page.reshape(-1, 3).tolist()}
    for label in range(3):
        first, second = ((label * 100, row * 50, 7) for row in (0, 1))
        assert first in colours and second in colours and (label * 100, 100, 7) not in colours
        places = np.argwhere((page == first).all(axis=-1))
        middle = int(places[:, 1].mean())
        column = page[:, middle]
        bar = (column == Image.new("RGB", (1, 1), BAR).getpixel((0, 0))).all(axis=-1).sum()
        line = (column == Image.new("RGB", (1, 1), REAL).getpixel((0, 0))).all(axis=-1).sum()
        assert bar == pytest.approx(BAR_HEIGHT * label / 3, abs=3)
        assert line == (2 if label else 0)


def test_the_picture_has_at_most_the_columns_and_rows_asked_for():
    samples = np.zeros((200, 8, 8, 3), np.uint8)
    wide = picture(samples, make_report(classes=100), rows=8, columns=100)
    narrow = picture(samples, make_report(classes=100), rows=8, columns=12)
    assert narrow.width < wide.width / 5
    assert picture(samples, make_report(classes=100), rows=1, columns=12).height < narrow.height
