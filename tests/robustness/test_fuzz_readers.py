"""Damaged files: what the fuzz test has found is repeated, and a few trials of the quick readers are made."""

import pytest

hypothesis = pytest.importorskip("hypothesis")

import fuzz_readers  # noqa: E402
from edits import edits  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

KEPT = sorted(path.stem for path in fuzz_readers.CORPUS.glob("*.jsonl"))


@pytest.mark.parametrize("name", KEPT)
def test_files_that_once_broke_a_reader_are_read_or_refused(tmp_path, name):
    trials = fuzz_readers.Trials(name, tmp_path)
    for file, damage in fuzz_readers.corpus(name):
        trials.run(file, damage)
    assert trials.survived + trials.refused == len(fuzz_readers.corpus(name)) > 0


@pytest.mark.parametrize("name", ["pth", "samples", "config", "idx"])
def test_a_damaged_file_is_read_or_refused(tmp_path, name):
    trials = fuzz_readers.Trials(name, tmp_path)

    @hypothesis.settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.integers(0, 100), edits(trials.reader.kind))
    def trial(file, damage):
        trials.run(file, damage)

    trial()
    assert trials.refused > 0
