"""The sampling benchmark without its peer: its table, and errors for wrong flags and a missing package."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import sampling
from benchmarks.sampling import HERE, PEER, Row

ROOT = Path(__file__).parents[2]
ALONE = "import sys; sys.modules['pytorch_pretrained_biggan'] = None\n"
COMMAND = "import runpy; runpy.run_module('benchmarks.sampling', run_name='__main__', alter_sys=True)"


def test_the_table_gives_images_a_second_as_ratios_to_the_peer_and_fits_into_80_columns():
    rows = [
        Row(16, PEER, "cpu", 8.0, 2.0, 1.0, 4.0, 1.0, 0.0),
        Row(16, HERE, "cpu", 2.0, 8.0, 4.0, 2.0, 2.0, 5e-7),
    ]
    console = Console(width=80)
    with console.capture() as capture:
        console.print(sampling.table(rows, "title"))
    peer, here = (line.split() for line in capture.get().splitlines() if line.split()[:1] == ["16"])
    assert peer == ["16", PEER, "8.000", "2.00", "1.00", "4.000", "1.00"]
    assert here == ["16", HERE, "2.000", "8.00", "4.00", "2.000", "2.00", "5.0e-07"]


@pytest.mark.parametrize("sizes", ["", "1,x", "0", "-1"])
def test_batch_sizes_that_are_none_are_an_error_with_the_remedy(sizes):
    command = [sys.executable, "-m", "benchmarks.sampling", f"--batch_sizes={sizes}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == f"error: --batch_sizes={sizes}: give integers above 0, separated by commas\n"


def test_without_the_other_package_the_extra_is_named():
    done = subprocess.run([sys.executable, "-c", ALONE + COMMAND], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "error: the benchmark needs pytorch-pretrained-biggan: pip install -e '.[peers]'\n"
