"""The tables on the terminal: right numbers in the right places, at any number of classes."""

import io

import pytest
from reports import make_report
from rich.console import Console

from biggan_jax.evaluation.report.schema import Report
from biggan_jax.evaluation.report.terminal import provenance, render_report, truncation_rows


def printed(report, width=130):
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(render_report(Report.from_json(report)))
    return console.export_text()


def test_the_tables_have_each_score_beside_what_held_out_images_get_and_all_that_they_depend_on():
    text = printed(make_report())
    cells = {tuple(line.split()) for line in text.splitlines()}
    assert ("class", "2", "66.7", "%", "75.0", "%", "0.50", "1.25") in cells
    assert ("class", "0", "0.0", "%", "–", "–", "–") in cells
    assert ("all", "classes", "85.3", "%", "91.2", "%", "0.77", "–") in cells
    words = " ".join(text.split())
    for shown in (
        "fid@classifier 12.34 2.00 bias about 1.50, FID∞ 10.75",
        "is@classifier 6.00 ± 0.25 7.00",
        "recall 25.0 % –".replace("recall", "recall@classifier"),
        "12 samples of step 1,234, 16 px, untruncated; average (EMA) weights",
        "standing statistics (20 passes of 64)",
        "compared with 300 training images: Blobs; train: 300",
        "held out: 150 images: Blobs; test: 150",
        "network classifier 0123456789ab",
        "recognises 91.2 % of 10,000 held-out images",
    ):
        assert shown in words, shown
    assert "truncation 0.5" in printed(make_report(truncation=0.5))


def test_sections_say_whether_to_look_and_notes_are_shown():
    words = " ".join(printed(make_report(notes=["Something is off."])).split())
    assert "! Something is off." in words
    assert "1. First: fine All is well." in words
    assert "4. Fourth: look here Few are varied." in words
    assert "5. Fifth Not measured: none held out." in words


def test_of_a_file_and_of_statistics_the_report_says_what_is_known():
    report = make_report(
        file="samples.npz", classes=[], reference={"source": "reference.npz", "images": None}
    )
    for name in ("step", "classifier", "weights", "statistics", "truncation"):
        del report[name]
    words = " ".join(printed(report).split())
    assert "12 samples in samples.npz, 16 px" in words
    assert "compared with the statistics of an unknown number of images in reference.npz" in words


def test_of_many_classes_the_table_shows_the_least_recognised():
    text = printed(make_report(classes=1000, num_samples=4000))
    assert "20 least recognised of 1000" in text
    assert "class 19 " in text and "class 20 " not in text
    rows = make_report(classes=30)
    rows["classes"][7]["recognised@classifier"] = None  # no samples of it
    assert "class 7 " not in printed(rows)


@pytest.mark.parametrize("with_is", [True, False])
def test_a_curve_over_truncations_is_a_table_too(with_is):
    point = {"truncation": 0.5, "truncation_kind": "threshold", "fid@classifier": {"value": 3.0}}
    point |= {"is@classifier": {"value": 5.0}} if with_is else {}
    cells = {tuple(line.split()) for line in printed(make_report(truncations=[point])).splitlines()}
    assert ("0.5", "3.00", "5.00" if with_is else "–") in cells


@pytest.mark.parametrize(("kind", "untruncated", "other"), [("threshold", 0.0, 1.0), ("scale", 1.0, 0.0)])
def test_only_the_truncation_that_is_none_is_called_so(kind, untruncated, other):
    points = [
        {"truncation": value, "truncation_kind": kind, "fid@classifier": {"value": 3.0}}
        for value in (untruncated, other)
    ]
    labels = [row[0] for row in truncation_rows(Report.from_json(make_report(truncations=points)))]
    assert labels == ["truncation", "none", f"{other:g}"]
    export = {"file": "export", "weights": {}, "truncation": untruncated, "truncation_kind": kind}
    report = make_report(**export)
    del report["step"]
    assert "of the export export, 16 px, untruncated" in provenance(Report.from_json(report))
    assert f"truncation {other:g}" in provenance(Report.from_json(report | {"truncation": other}))
