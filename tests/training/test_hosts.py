"""Several processes as one run: the same steps however devices are spread over them, and none left behind."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from compiling import xla_flags

from biggan_jax.runtime import processes
from biggan_jax.runtime.errors import UserError

HERE = Path(__file__).parent
LAYOUTS = {(1, 8): (1, 2, 4, 8), (2, 2): (4,), (4, 1): (4,)}  # processes, devices of each: replicas


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return f"localhost:{found.getsockname()[1]}"


def start(command: list[str], devices: int) -> subprocess.Popen:
    settings = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags(devices), "PYTHONPATH": str(HERE.parent)}
    environment = os.environ | settings
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stderr=subprocess.PIPE, text=True, cwd=HERE.parent
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """`{"2×2 pmap:4": {path: array}}`, of parameters and metrics after five steps."""
    found = {}
    for (count, devices), replicas in LAYOUTS.items():
        output = tmp_path_factory.mktemp("layout") / "results.npz"
        jobs = [f"{mapping}:{each}" for mapping in ("pmap", "shard_map") for each in replicas]
        where = [str(HERE / "one_of_several.py"), str(output), free_address(), str(count)]
        running = [start([*where, str(index), *jobs], devices) for index in range(count)]
        for process in running:
            _, err = process.communicate(timeout=600)
            assert process.returncode == 0, err[-2000:]
        with np.load(output) as arrays:
            for name, array in arrays.items():
                job, _, path = name.partition("/")
                found.setdefault(f"{count}×{devices} {job}", {})[path] = array
    return found


@pytest.mark.slow
def test_parameters_are_the_same_for_any_number_of_replicas_and_processes_with_either_mapping(results):
    assert len(results) == 2 * sum(map(len, LAYOUTS.values()))
    expected = results["1×8 pmap:1"]
    for name, found in results.items():
        assert found.keys() == expected.keys()
        for path, array in found.items():
            error = np.linalg.norm(array - expected[path]) / np.linalg.norm(expected[path])
            assert error < 1e-5, f"{name}, {path}: relative error {error:.1e}"


@pytest.mark.slow
def test_in_four_processes_both_mappings_give_the_same_bits(results):
    # Each replica computes the same; only the order of sums over replicas could differ.
    for path, array in results["4×1 pmap:4"].items():
        np.testing.assert_array_equal(array, results["4×1 shard_map:4"][path], err_msg=path)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("host:1", 2, None), "--process_id=None: give all three, or none"),
        ((None, None, 0), "--coordinator_address=None.*give all three"),
        (("host", 2, 0), "--coordinator_address=host: give HOST:PORT"),
        (("host:1", 2, 2), "--process_id=2 of --num_processes=2: give 0 to 1"),
    ],
)
def test_a_process_that_is_told_half_of_where_it_belongs_is_refused(given, named):
    with pytest.raises(UserError, match=named):
        processes.join(*given)


def test_without_a_cluster_a_process_is_alone():
    script = (
        "from biggan_jax.runtime import processes; processes.join(); import jax; print(jax.process_count())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    out = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert out.stdout == "1\n", out.stderr


@pytest.mark.slow
def test_under_slurm_the_processes_find_each_other_without_being_told():
    script = (
        "from biggan_jax.runtime import processes; processes.join(); import jax;"
        "from biggan_jax.runtime.replicas import Replicas;"
        "assert (jax.process_count(), jax.process_index()) == (2, int(os.environ['SLURM_PROCID']));"
        "assert Replicas().broadcast(os.environ['SLURM_PROCID']) == '0'; jax.distributed.shutdown()"
    )
    port = free_address().split(":")[1]
    running = []
    for index in "01":
        slurm = {
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": index,
            "SLURM_LOCALID": index,
            "SLURM_STEP_NUM_NODES": "1",
            "JAX_COORDINATOR_PORT": port,
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in slurm.items():
                patch.setenv(name, value)
            running.append(start(["-c", f"import os; {script}"], devices=1))
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("raise UserError('no such image')", 2, "error: process 1: no such image"),
        ("raise KeyError('a bug')", 1, "KeyError: 'a bug'"),
        ("sys.exit(75)", 75, ""),
    ],
)
def test_when_one_process_ends_all_end_within_a_minute_and_say_so(end, code, words):
    script = (
        "import os, sys, time, jax, numpy as np\n"
        "from biggan_jax.runtime.errors import UserError\n"
        "from biggan_jax.runtime import processes\n"
        "from biggan_jax.runtime.replicas import Replicas\n"
        "processes.join(sys.argv[1], 3, int(sys.argv[2]))\n"
        "with processes.fail_fast():\n"
        "    for turn in range(1000):\n"
        "        Replicas().broadcast(turn)\n"
        f"        if turn == 3 and sys.argv[2] == '1': {end}\n"
        "        time.sleep(0.05)\n"
    )
    address = free_address()
    running = [start(["-c", script, address, str(index)], devices=1) for index in range(3)]
    running[1].wait(timeout=120)
    began = time.monotonic()
    said = [process.communicate(timeout=60)[1] for process in running]
    codes = [process.returncode for process in running]
    assert time.monotonic() - began < 60
    assert codes[1] == code and 0 not in codes, codes
    assert words in said[1] and ("Traceback" in said[1]) == (code == 1)


def test_alone_an_error_takes_its_ordinary_way():
    assert jax.process_count() == 1
    with pytest.raises(KeyError), processes.fail_fast():
        raise KeyError("bug")
