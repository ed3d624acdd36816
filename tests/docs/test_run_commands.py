"""The runner of documented commands tells success from failure, and leaves nothing behind."""

import time

from documented_commands import Block
from run_commands import SHAPES, make_pictures, report, run, run_one


def test_shell_block_stops_at_nothing_and_reports_each_command(tmp_path):
    block = Block("page.md", 3, "bash", "export WORD=there\ntest $WORD = there\nfalse | cat\n")
    outcomes = run(block, tmp_path, limit=20)
    assert [(outcome.state, outcome.command) for outcome in outcomes] == [
        ("ok", "test $WORD = there"),
        ("FAILED", "false | cat"),
    ]
    assert report(outcomes, seconds=1) == 1


def test_python_block_runs_in_the_folder_and_an_exception_fails_it(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 3\n")
    good = Block("page.md", 1, "python", "import beside\nassert beside.VALUE == 3\n")
    bad = Block("page.md", 1, "python", "import beside\nassert beside.VALUE == 4\n")
    outcomes = run(good, tmp_path, 20) + run(bad, tmp_path, 20)
    assert [outcome.state for outcome in outcomes] == ["ok", "FAILED"]
    assert "AssertionError" in outcomes[1].remark


def test_skipped_and_written_blocks_are_no_failures(tmp_path):
    outcomes = run(Block("page.md", 1, "bash", "false\n", skip="no pod"), tmp_path, 20)
    outcomes += run(Block("page.md", 1, "python", "x = 1\n", file="x.py"), tmp_path, 20)
    assert [outcome.state for outcome in outcomes] == ["skipped", "written"]
    assert (tmp_path / "x.py").read_text() == "x = 1\n"
    assert report(outcomes, seconds=1) == 0


def test_command_beyond_its_limit_ends_with_its_children(tmp_path):
    words = ["bash", "-c", "(sleep 3; touch late) & echo begun; wait"]
    outcome = run_one("page.md:1", "sleep", words, tmp_path, limit=0.5)
    assert outcome.state == "FAILED" and "none within 0.5 s" in outcome.remark and "begun" in outcome.remark
    time.sleep(3)
    assert not (tmp_path / "late").exists()


def test_pictures_have_a_folder_for_each_class(tmp_path):
    make_pictures(tmp_path, count=2)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg")) == sorted(
        f"{shape}/{number:04}.jpg" for shape in SHAPES for number in range(2)
    )
