"""The summary of runs whose numbers are known: nothing lost, nothing mixed up, and what compares is said."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import finished_runs
import pytest
from etils import epath
from finished_runs import make_runs, write_run

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import write_file
from biggan_jax.sweeps.html_summary import html_summary
from biggan_jax.sweeps.results import collect
from biggan_jax.sweeps.summary import summarise
from biggan_jax.sweeps.tables import as_csv, as_markdown


@pytest.fixture
def runs_and_workdir(tmp_path):
    return make_runs(tmp_path)


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\t=1", "-1-cmd|' /C calc'!A0"])
def test_a_text_of_the_csv_is_no_formula(runs_and_workdir, text):
    results, _ = collect(*runs_and_workdir)
    results = [result._replace(error=text) for result in results]
    assert {row["error"] for row in csv.DictReader(io.StringIO(as_csv(results)))} == {f"'{text}"}


def test_csv_has_every_run_with_its_differences_and_its_own_final_and_best_scores(runs_and_workdir):
    results, _ = collect(*runs_and_workdir)
    narrow, wide, failed, later = csv.DictReader(io.StringIO(as_csv(results)))
    varied = {"seed", "model.channels", "optimizer.orthogonal_regularization", "data.split"}
    assert varied < narrow.keys() and "total_steps" not in narrow  # which is the same in all
    assert (narrow["model.channels"], wide["model.channels"], failed["model.channels"]) == ("8", "12", "16")
    assert (narrow["fid@classifier"], wide["fid@classifier"], failed["fid@classifier"]) == (
        "21.0",
        "12.0",
        "",
    )
    best, at = "best fid@classifier while training", "best fid@classifier while training, step"
    assert [(row[best], row[at]) for row in (narrow, wide, failed)] == [
        ("20.0", "100"),
        ("9.0", "50"),
        ("40.0", "50"),
    ]
    assert float(wide["best is@classifier while training"]) == pytest.approx(100 / 9)  # more is better
    assert (narrow["density@classifier"], narrow["recognised@classifier"]) == ("", "0.5")
    assert [row["status"] for row in (narrow, later)] == ["finished", "not begun"]
    assert (failed["status"], failed["error"]) == ("failed at step 60 of 100", "D's loss is 0")
    assert failed["step"] == "60" and later["step"] == "0"


def test_scores_that_are_not_meaningful_are_no_runs_best_and_the_notes_say_why(tmp_path):
    runs, workdir = make_runs(tmp_path)
    path = workdir / runs[1].name / "evaluation.json"
    report = json.loads(path.read_bytes())
    for score in report["scores"].values():
        score |= {"value": None, "meaningful": False, "reason": "the data has one class"}
    path.write_text(json.dumps(report))
    results, notes = collect(runs, workdir)
    assert (
        results[1].final == {} and "wide: scores are not meaningful: the data has one class" in notes.warnings
    )
    assert "**21.00**" in as_markdown(results, notes)


def test_markdown_has_as_many_cells_in_each_line_and_the_best_of_each_score_in_bold(runs_and_workdir):
    text = as_markdown(*collect(*runs_and_workdir))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len({len(row) for row in cells}) == 1 and len(lines) == 2 + 4
    columns = [cell.strip() for cell in cells[0]]
    rows = {row[0].strip(): dict(zip(columns, map(str.strip, row), strict=True)) for row in cells[2:]}
    assert [row["split"] for row in rows.values()] == ["train", "train", r"a\|b", "train"]
    assert rows["wide"]["fid@classifier"] == "**12.00**" and rows["narrow"]["fid@classifier"] == "21.00"
    assert rows["wide"]["is@classifier"] == "**4.00**" and rows["narrow"]["is@classifier"] == "3.00"
    assert rows["wide"]["best fid@classifier (step)"] == "**9.00 (50)**"
    assert not any("density" in column for column in columns)  # the main scores alone
    assert rows["narrow"]["recognised@classifier"] == "**50.0 %**"


def test_an_evaluation_of_an_earlier_step_is_not_taken_for_the_last(runs_and_workdir):
    runs, workdir = runs_and_workdir
    (workdir / "narrow" / "checkpoints" / "00000200").mkdir()
    assert collect(runs, workdir)[0][0].final == {}


def test_a_run_that_failed_before_its_first_step_does_not_pass_for_one_that_has_not_begun(runs_and_workdir):
    runs, workdir = runs_and_workdir
    (workdir / "later").mkdir()
    (workdir / "later" / "log.txt").write_text("---- python\nerror: no such data\n")
    results, notes = collect(runs, workdir)
    assert (results[3].status, results[3].error) == ("failed at step 0 of 100", "no such data")
    assert "later has failed: no such data" in notes.warnings


def test_scores_of_unequal_notes_come_with_a_warning(runs_and_workdir):
    runs, workdir = runs_and_workdir
    _, notes = collect(runs, workdir)
    (failed,) = notes.warnings
    assert failed.endswith("has failed: D's loss is 0")
    assert "2,000 at 32 px" in notes.sentences[0] and "0123456789ab" in notes.sentences[0]
    network = {"network": "classifier", "weights_hash": "ba9876543210"}
    write_run(runs[3], workdir, {}, {"fid": 1.0}, network=network, num_samples=500)
    results, notes = collect(runs, workdir)
    assert notes.warnings.pop() == failed
    assert len(notes.warnings) == 2 and not notes.sentences
    for warning, words in zip(notes.warnings, ("ba9876543210", "500 at 32 px"), strict=True):
        assert "don't compare" in warning and f"{results[3].run.name}: " in warning and words in warning
        assert warning in as_markdown(results, notes)
        assert "don&#x27;t compare" in html_summary("sweep", results, notes)


@pytest.mark.parametrize(
    "damaged", ["[1]", "[" * 5000, '{"step": 100}', '{"step": 100, "scores": {"fid": {"value": "low"}}}']
)
def test_a_damaged_evaluation_costs_its_scores_and_not_the_summary(runs_and_workdir, damaged):
    runs, workdir = runs_and_workdir
    (workdir / runs[0].name / "evaluation.json").write_text(damaged)
    results, notes = collect(runs, workdir)
    assert not results[0].final and results[1].final
    named = any("evaluation.json is damaged" in warning for warning in notes.warnings)
    assert named == damaged.startswith("{")


def test_what_holds_for_scores_of_the_last_step_and_while_training_is_said_once(runs_and_workdir):
    runs, workdir = runs_and_workdir
    for samples, count in ((2_000, 1), (500, 2)):
        write_file(
            workdir / "narrow" / "evaluation" / "during_training.json",
            json.dumps(finished_runs.CONDITIONS | {"num_samples": samples}).encode(),
        )
        _, notes = collect(runs, workdir)
        assert len(notes.sentences) == count
        assert notes.sentences[0].startswith("Scores of the last step" + " and while training" * (count == 1))


def test_a_sweep_that_has_not_begun_is_no_empty_table(runs_and_workdir, tmp_path):
    with pytest.raises(UserError, match="no run of this sweep has begun"):
        collect(runs_and_workdir[0], epath.Path(tmp_path / "elsewhere"))


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("img", "meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):  # of SVG
        self.addresses += [value for name, value in attrs if name == "src" and value]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_in_itself_and_shows_the_last_sheet_of_each_run(runs_and_workdir):
    text = html_summary("Sweep <b>&", *collect(*runs_and_workdir))
    page = Page(text)
    assert not page.open and "<h1>Sweep &lt;b&gt;&amp;</h1>" in text
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    sheets = {image["alt"]: int(image["width"]) for image in page.images}
    failed = runs_and_workdir[0][2].name
    assert sheets == {
        "real images": 100,
        "samples of narrow": 100,
        "samples of wide": 100,
        f"samples of {failed}": 60,
    }
    for title in ("fid@classifier", "Hinge loss of D", "Hinge loss of G"):
        assert f"<h3>{title}</h3>" in text
    assert "Norm of G" not in text  # no run knows it


def test_the_page_has_main_scores_first_and_all_of_them_folded(runs_and_workdir):
    text = html_summary("sweep", *collect(*runs_and_workdir))
    tables = [
        [re.sub("<[^>]*>", "", head) for head in re.findall("<th .*?</th>", table)]
        for table in re.findall("<table.*?</table>", text)
    ]
    names = ["fid@classifier", "is@classifier", "recognised@classifier"]
    main, everything = tables
    assert main[0] == everything[0] == "run" and set(main[1:4]) == set(names) and main[4] == "reached"
    assert set(main[5:]) == {"seed", "channels", "orthogonal regularization", "split"}
    more = {"density@classifier", "best fid@classifier (step)", "best is@classifier (step)"}
    assert set(everything[1:]) == {*names, *more}
    # The only density there is: but more of it is not better, and nothing to be shown as the best.
    assert "<td>1.25</td>" in text and "<td><b>12.00</b></td>" in text
    first = text.index("<details>")
    assert text.index("<table") < first < text.index("<table", first) < text.index("</details>", first)


def test_all_three_files_are_written_beside_the_runs_and_the_terminal_names_them(runs_and_workdir, capsys):
    runs, workdir = runs_and_workdir
    summarise(runs, workdir)
    printed = capsys.readouterr().out
    said = re.sub(r"\s+", " ", printed)
    for name in ("summary.csv", "summary.md", "summary.html"):
        assert (workdir / name).exists() and name in said
    for run in runs:
        assert run.name in printed  # unbroken
    assert "12.00" in said and "50.0 %" in said and "9.00 (50)" in said and "…" not in said
    assert finished_runs.CONDITIONS["network"]["weights_hash"] in said
