"""The benchmark of the input pipeline, small: every way is timed on the same files, and the tables add up."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import input as benchmark

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory) -> None:
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_the_made_up_photographs_weigh_what_imagenets_weigh(tmp_path):
    benchmark.make_photographs(tmp_path / "photographs", 8)
    sizes = [path.stat().st_size for path in (tmp_path / "photographs").iterdir()]
    assert len(sizes) == 8 and 80_000 < np.mean(sizes) < 140_000


def test_the_ordinary_loader_gives_channels_first_floats_around_zero_and_mirrors_them(tmp_path):
    benchmark.make_photographs(tmp_path / "photographs", 1)
    image, mirrored = (
        benchmark.load(tmp_path / "photographs" / "00000.jpg", 32, way) for way in (False, True)
    )
    assert image.shape == (3, 32, 32) and image.dtype == np.float32
    assert -1 <= image.min() < image.max() <= 1
    np.testing.assert_array_equal(mirrored, image[:, :, ::-1])


@pytest.mark.slow
def test_a_prepared_set_is_faster_than_jpeg_on_one_core(tmp_path):
    benchmark.make_photographs(tmp_path / "photographs", 8)
    rows = benchmark.measure(tmp_path / "photographs", 16, rounds=1, seconds=0.0)
    assert [row.way for row in rows] == ["Pillow loader", "JPEG", "prepared", "in memory"]
    assert rows[2].images_per_core_second > rows[1].images_per_core_second > 0


def test_hosts_must_deliver_their_share_of_two_batches_a_step():
    demand = benchmark.demand(steps_per_second=1.0)
    assert demand["v3-128"] == 2 * 2048 / 16
    assert demand["v4-128"] / demand["v3-128"] == pytest.approx(275 / 123)
    assert demand["v5e-64"] / demand["v3-128"] == pytest.approx(197 / 123)


def test_the_tables_give_ratios_to_the_first_row_and_cores():
    rows = [benchmark.Row("Pillow loader", 500.0), benchmark.Row("prepared", 8000.0)]
    console = Console(width=160)
    with console.capture() as capture:
        console.print(benchmark.rates_table(rows, ""))
        console.print(benchmark.demand_table(rows, 2.0))
    lines = [line.split() for line in capture.get().splitlines()]
    assert ["prepared", "8,000", "16.00"] in lines
    assert ["v3-128", "16", "2.00", "512", "1.02", "0.06"] in lines


@pytest.mark.slow
def test_memory_stays_flat_while_batches_are_read(tmp_path):
    """Each batch is 6 MiB, and what is in flight comes and goes: a leak of one in twenty would show."""
    command = [sys.executable, "-m", "benchmarks.input", "--batches=1000", "--resolution=128", "--count=16"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    mebibytes = [float(line.split()[-2].replace(",", "")) for line in result.stdout.splitlines()]
    assert len(mebibytes) == 10 and min(mebibytes[7:]) - min(mebibytes[2:5]) < 90


@pytest.mark.slow
def test_the_command_prints_what_it_measured():
    command = [
        sys.executable,
        "-m",
        "benchmarks.input",
        "--resolution=32",
        "--count=8",
        "--rounds=1",
        "--seconds=0",
        "--json",
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert [row["way"] for row in json.loads(result.stdout)][2] == "prepared"
