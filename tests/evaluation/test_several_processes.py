"""The number of devices and of processes changes no score."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blob_runs import make_config, write_run
from compiling import xla_flags

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
LAYOUTS = {"one device": (1, 1), "two devices": (1, 2), "four devices": (1, 4), "two processes": (2, 2)}


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return f"localhost:{found.getsockname()[1]}"


def start(script, places, processes, devices):
    """The processes of a layout: each gets places, address, and its own place among them."""
    address = free_address()
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags(devices)}
    return [
        subprocess.Popen(
            [sys.executable, str(HERE / script), *map(str, places), address, str(processes), str(index)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]


def finish(running):
    for process in running:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err[-3000:]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, kept):
    """A folder for each layout, with the same classifier and what the layout's processes wrote."""
    workdir = tmp_path_factory.mktemp("run")
    write_run(workdir, make_config())
    found, running = {}, []
    for name, layout in LAYOUTS.items():
        found[name] = tmp_path_factory.mktemp("layout")
        shutil.copytree(kept[0], found[name] / "evaluation")
        running += start("evaluate_in_processes.py", [workdir, found[name]], *layout)
        if len(found) == 1:  # The others then find the training of CAS's classifier compiled.
            finish(running)
            running = []
    finish(running)
    return found


def numbers(value, path=""):
    """All numbers of a report, by where they stand."""
    if isinstance(value, dict):
        value = list(value.items())
    elif isinstance(value, list):
        value = list(enumerate(value))
    else:
        return {path: value} if isinstance(value, int | float) else {}
    return {key: number for name, item in value for key, number in numbers(item, f"{path}/{name}").items()}


def test_a_report_has_the_same_numbers_on_any_number_of_devices_and_processes(outputs):
    found = {
        name: numbers(json.loads((folder / "report.json").read_text())) for name, folder in outputs.items()
    }
    expected = found.pop("one device")
    assert len(expected) > 200 and "/scores/cas@classifier/value" in expected
    for name, report in found.items():
        assert report == pytest.approx(expected, rel=1e-6, abs=1e-9), name


def test_every_process_of_a_run_gets_the_same_scores_as_a_run_of_one(outputs):
    (alone,) = (json.loads(path.read_text()) for path in outputs["one device"].glob("training-*.json"))
    both = [json.loads(path.read_text()) for path in outputs["two processes"].glob("training-*.json")]
    assert len(both) == 2 and both[0] == both[1]
    assert both[0] == pytest.approx(alone, rel=1e-6)
    assert alone.keys() == {"fid@classifier", "is@classifier"}


def test_inception_sees_the_same_in_two_processes_as_in_one(tmp_path):
    extracted = {}
    for processes in (1, 2):
        output = tmp_path / str(processes)
        output.mkdir()
        finish(start("extract_in_processes.py", [output], processes, devices=2))
        extracted[processes] = [dict(np.load(path)) for path in sorted(output.iterdir())]
    (alone,), (first, second) = extracted.values()
    assert alone["features"].shape == (7, 2048) and alone["logits"].shape == (7, 1008)
    assert np.abs(alone["features"] - alone["features"][0]).max() > 0.01
    for kind, expected in alone.items():
        np.testing.assert_array_equal(first[kind], second[kind])
        np.testing.assert_allclose(first[kind], expected, rtol=0, atol=1e-6 * np.abs(expected).max())
