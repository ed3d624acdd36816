"""The benchmark of FID, small: all ways give one number, and the table says how long each took."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import evaluation

ROOT = Path(__file__).parents[2]


def test_all_ways_give_the_same_fid_and_a_time():
    rows = evaluation.measure(features=24, samples=300, batch_size=64, rounds=2)
    assert [row.way for row in rows] == ["here", "here, next", "scipy sqrtm", "eigenvalues"]
    for row in rows:
        assert row.fid == pytest.approx(rows[0].fid, rel=1e-5)
        assert row.seconds == row.statistics_s + row.distance_s > 0
    assert rows[0].fid > 0.01


def test_the_table_gives_times_as_ratios_to_the_first_row():
    rows = [evaluation.Row("here", 1.0, 0.5, 3.0), evaluation.Row("scipy sqrtm", 1.0, 5.0, 3.0 + 1e-7)]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(evaluation.table(rows, "FID"))
    here, sqrtm = (line.split() for line in capture.get().splitlines() if "here" in line or "sqrtm" in line)
    assert here == ["here", "1.000", "0.500", "1.500", "1.00", "3.000000", "0.0e+00"]
    assert sqrtm[2:] == ["1.000", "5.000", "6.000", "4.00", "3.000000", "1.0e-07"]


def test_the_command_prints_what_it_measured():
    command = [sys.executable, "-m", "benchmarks.evaluation", "--features=8", "--samples=50", "--rounds=1"]
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert [row["way"] for row in json.loads(result.stdout)][2] == "scipy sqrtm"
