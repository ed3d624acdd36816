"""report.html: everything that is known is on it, in its place, and it needs no other file."""

import io
import json
import platform

import flax
import jax
import numpy as np
import pytest
from blob_runs import make_config
from etils import epath
from pages import Page, assert_needs_no_other_file
from PIL import Image
from reports import HASH, make_report

from biggan_jax.config import config_to_json
from biggan_jax.evaluation.report.html_report import SHEETS, render_html
from biggan_jax.evaluation.report.schema import Report

POINTS = [
    {
        "truncation": truncation,
        "truncation_kind": "threshold",
        "num_samples": 50,
        "fid@classifier": {"value": 9.5},
        "is@classifier": {"value": 3.25, "std": 0.5},
    }
    for truncation in (0.5, 0.0)
]


def sheet(width=30, shade=0):
    buffer = io.BytesIO()
    Image.new("RGB", (width, 20), (shade,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def workdir(tmp_path):
    """The directory of a run that was evaluated during training, with rows of metrics and four sheets."""
    (tmp_path / "config.json").write_text(json.dumps(config_to_json(make_config(seed=12345))))
    (tmp_path / "samples").mkdir()
    for step in (10, 20, 100):
        (tmp_path / "samples" / f"{step:08d}.png").write_bytes(sheet(shade=step))
    (tmp_path / "samples" / "real.png").write_bytes(sheet(width=31))
    rows = [{"step": step, "d_loss": 1.0, "g_loss": 0.5} for step in range(0, 110, 10)]
    rows[5] |= {"fid@classifier": 7.0, "is@classifier": 2.0}
    rows[9] |= {"singular_values/generator/linear/1": 2.5, "singular_values/generator/conv/1": 1.5}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return epath.Path(tmp_path)


def rendered(report, workdir=None, pictures=("evaluation.png", "nearest.png")):
    content = render_html(Report.from_json(report), {name: sheet(40) for name in pictures}, workdir)
    assert_needs_no_other_file(content)
    return Page(content)


def test_all_that_is_known_of_a_run_is_on_the_page(workdir):
    page = rendered(make_report(truncations=POINTS, notes=["Beware."]), workdir)
    assert page.texts("h1") == [f"Evaluation of {workdir.name}"]
    assert page.texts("h2") == [
        "Scores",
        "Samples by class",
        "Blind spots of the Inception Score",
        "The nearest training images",
        "Classes",
        "Truncations",
        "Samples of the same latents over time",
        "Training",
        "How it was made",
    ]
    assert page.texts("p", "note") == ["Beware."]
    titles = page.texts("h3")
    assert titles[:3] == ["1. First fine", "4. Fourth look here", "5. Fifth not measured"]
    assert page.texts("span", "bad") == ["look here"] and page.texts("span", "good") == ["fine"]
    for words in ("All is well.", "Few are varied.", "Not measured: none held out.", "Nobody sees first."):
        assert words in page.texts("p"), words
    assert titles[3:] == [
        "50 samples at each truncation",
        "Hinge losses",
        "fid@classifier",
        "is@classifier",
        "Largest singular value of each weight of the generator",
    ]
    assert [svg.attributes["aria-label"] for svg in page.all("svg")] == titles[3:]


def test_scores_stand_beside_those_of_held_out_images_and_under_the_network_and_its_weights_hash(workdir):
    page = rendered(make_report(), workdir)
    rows = page.texts("tr")
    assert "fid@classifierbias about 1.50, FID∞ 10.7512.342.00" in rows
    assert "is@classifier6.00 ± 0.257.00" in rows
    assert "recall@classifier25.0 %–" in rows
    dim = " ".join(page.texts("p", "dim"))
    assert f"the feature network classifier with the weights {HASH}" in dim
    assert "12 samples of step 1,234, 16 px, untruncated" in dim and "Blobs; test: 150" in dim


def test_each_class_has_a_row_even_of_a_thousand_and_the_table_can_be_sorted(workdir):
    page = rendered(make_report(classes=1000, num_samples=4000), workdir)
    (table,) = page.all("table", "sortable")
    text = "".join(table.words)
    assert text.startswith("classsamplesrecognisedreal images recogniseddiversity (real = 1)FID of the class")
    assert "class 041" not in text and "class 0" + "4" + "0.0 %" + "–" * 3 in text
    assert "class 9994" + "99.9 %" + "75.0 %" + "0.50" + "1.25" in text


def test_names_that_look_like_markup_are_text(workdir):
    report = make_report(file="<i>samples</i>.npz", notes=["<u>"])
    for row in report["classes"]:
        row["name"] = f"<b>{row['name']}</b>"
    report["beyond_is"][1]["sentence"] = "The least varied: <b>class 1</b> (0.00)."
    report["beyond_is"][1]["least_diverse"] = [
        {"name": "<b>class 1</b>", "ratio": 0.0, "vendi": 1.0, "real_vendi": 2.5}
    ]
    page = rendered(report)
    assert not page.all("b") and not page.all("u") and not page.all("i")
    assert "<b>class 1</b>" in page.texts("td") and page.texts("h1") == ["Evaluation of <i>samples</i>.npz"]
    assert page.texts("summary") == ["The least diverse classes"]
    assert "<b>class 1</b>0.00001.002.50" in page.texts("tr")


def test_samples_of_a_file_have_a_report_without_what_only_a_run_has():
    report = make_report(file="samples.npz", classes=[])
    for name in ("step", "classifier", "weights"):
        del report[name]
    page = rendered(report, pictures=())
    assert page.texts("h2") == ["Scores", "Blind spots of the Inception Score", "How it was made"]
    assert not page.all("img") and not page.all("svg") and not page.texts("summary")


def test_what_a_run_has_not_written_yet_is_left_out(workdir):
    (workdir / "metrics.jsonl").unlink()
    (workdir / "samples").rmtree()
    headings = rendered(make_report(), workdir, pictures=()).texts("h2")
    assert headings == ["Scores", "Blind spots of the Inception Score", "Classes", "How it was made"]
    (workdir / "samples").mkdir()
    (workdir / "metrics.jsonl").write_text('{"step": 3, "d_lo')  # a row that is being written
    assert rendered(make_report(), workdir, pictures=()).texts("h2") == headings


def test_of_many_sheets_the_first_the_last_and_some_between_are_shown_in_their_order(workdir):
    for step in range(200, 10_200, 100):
        (workdir / "samples" / f"{step:08d}.png").write_bytes(sheet(shade=step // 100))
    (workdir / "samples" / "mine.png").write_bytes(sheet())
    page = rendered(make_report(), workdir, pictures=())
    captions = page.texts("figcaption")
    assert len(captions) == SHEETS and (captions[0], captions[-1]) == ("step 10", "step 10,100")
    steps = [int(caption.removeprefix("step ").replace(",", "")) for caption in captions]
    assert max(np.diff(steps)) <= 1100 and min(np.diff(steps)) > 0
    shades = [picture.getpixel((0, 0))[0] for picture in page.images()]
    assert shades[1:-1] == [step // 100 for step in steps[1:]]  # the last picture is of real images
    assert page.images()[-1].width == 31 and page.texts("summary")[0] == "Real images"


def test_a_run_with_many_large_sheets_makes_a_page_that_a_phone_can_load(workdir):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG", compress_level=0)
    for step in range(10, 10 * SHEETS + 1, 10):
        (workdir / "samples" / f"{step:08d}.png").write_bytes(buffer.getvalue())
    pictures = dict.fromkeys(("evaluation.png", "nearest.png"), buffer.getvalue())
    content = render_html(Report.from_json(make_report(classes=1000)), pictures, workdir)
    assert len(content.encode()) < 10e6
    assert min(picture.width for picture in Page(content).images()[:-1]) >= 300


def test_a_damaged_sheet_or_row_is_said_and_the_rest_is_there(workdir):
    (workdir / "samples" / "00000020.png").write_bytes(sheet()[:20])
    (workdir / "metrics.jsonl").write_text("{broken}\n")
    page = rendered(make_report(), workdir)
    notes = page.texts("p", "note")
    assert len(notes) == 2
    assert "picture cannot be read" in notes[0] and "metrics.jsonl: 1 of 1 lines are damaged" in notes[1]
    assert page.texts("figcaption") == ["step 10", "step 20", "step 100"] and len(page.images()) == 5


def test_the_page_says_what_made_it_and_by_which_config(workdir):
    page = rendered(make_report(), workdir)
    rows = page.texts("tr")
    device = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    for row in (
        f"jax{jax.__version__}",
        f"flax{flax.__version__}",
        f"python{platform.python_version()}",
        f"evaluated on{device}",
        "seed12345",
        "model.generator_channels[1, 1, 1]",
    ):
        assert row in rows, row
    assert any(row.startswith("biggan-jax0.") for row in rows)


def test_the_report_explains_why_scores_during_training_differ(workdir):
    (workdir / "evaluation").mkdir()
    about = {"num_samples": 5_000, "reference_images": 8_000}
    (workdir / "evaluation" / "during_training.json").write_text(json.dumps(about))
    words = " ".join(rendered(make_report(), workdir).texts("p", "dim"))
    assert "5,000 samples and 8,000 real images" in words and "12 samples and 300 real images" in words
    assert "fid@classifier and is@classifier" in words
    (workdir / "metrics.jsonl").write_text('{"step": 10, "d_loss": 1.0, "g_loss": 0.5}\n' * 3)
    assert "during training" not in " ".join(rendered(make_report(), workdir).texts("p", "dim"))
