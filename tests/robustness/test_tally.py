"""The counts of robustness scripts: nothing that went wrong may count as a refusal."""

import subprocess

import pytest
from tally import Tally


def ended(code: int, stderr: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, "", stderr)


@pytest.mark.parametrize(
    ("done", "row"),
    [
        (ended(0, "a note"), "| 1 | 1 | 0 | 0 |"),
        (ended(2, "WARNING: a note\nerror: the file is damaged\n"), "| 1 | 0 | 1 | 0 |"),
        (ended(2, "usage: unknown"), "| 1 | 0 | 0 | 1 |"),
        (ended(2, "Traceback (most recent call last)\nerror: x"), "| 1 | 0 | 0 | 1 |"),
        (ended(1, "error: x"), "| 1 | 0 | 0 | 1 |"),
        (ended(-11, ""), "| 1 | 0 | 0 | 1 |"),
    ],
)
def test_a_command_is_refused_only_with_code_2_and_one_line(done, row):
    tally = Tally("commands")
    tally.command("trial", done)
    assert row in tally.row()


def test_a_topic_fails_with_a_failed_trial_and_without_any_trial(capsys):
    tally = Tally("files")
    assert tally.report() == 1
    tally.check(True, "unseen")
    assert tally.report() == 0
    tally.failed("bit 3 went unseen")
    assert tally.report() == 1
    assert "FAILED files: bit 3 went unseen" in capsys.readouterr().out
