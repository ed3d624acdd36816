"""The process in which the classifier learns: alike under all conditions, and never left alone."""

import dataclasses
import io
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from blobs import SETTINGS, make_blobs
from rich.console import Console

from biggan_jax.evaluation.networks import classifier_training
from biggan_jax.evaluation.networks.classifier_training import train

TRAINING = make_blobs(60, seed=1)
SHORT = dataclasses.replace(SETTINGS, widths=(8,), images_seen=500)


def learn(settings=SHORT, console=None):
    return train(TRAINING, 3, settings, console or Console(quiet=True))


def children(parent):
    """The processes of `parent` that train a classifier, by their numbers."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return {
        int(pid) for pid, above, args in rows if int(above) == parent and classifier_training.__name__ in args
    }


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def learned():
    return learn()


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=7"},
        {"JAX_NUM_CPU_DEVICES": "6", "NPROC": "5", "JAX_ENABLE_X64": "1"},
        {"JAX_PLATFORMS": "no_such_accelerator", "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"},
    ],
)
def test_what_it_learns_is_the_same_bit_for_bit_whatever_the_runs_devices(learned, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    jax.tree.map(np.testing.assert_array_equal, learn(), learned)


@pytest.mark.slow
def test_a_process_that_fails_is_an_error_with_what_it_said(monkeypatch):
    monkeypatch.setattr(
        classifier_training, "json", type("Json", (), {"dumps": staticmethod(lambda _: "{]")})
    )
    with pytest.raises(RuntimeError, match=r"(?s)exit code 1: .*JSONDecodeError"):
        learn()
    assert not children(os.getpid())


@pytest.mark.slow
def test_ctrl_c_ends_the_process_too(monkeypatch):
    def interrupted(*_):
        yield from ((TRAINING[0][:50], TRAINING[1][:50]) for _ in range(2))
        assert children(os.getpid())
        raise KeyboardInterrupt

    monkeypatch.setattr(classifier_training, "_batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learn()
    assert not children(os.getpid())


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_process_behind():
    program = (
        "import test_classifier_training as t\n"
        "t.learn(t.dataclasses.replace(t.SHORT, images_seen=50_000_000))"
    )
    places = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    run = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": places})
    try:
        wait_for(lambda: children(run.pid))
        (trains,) = children(run.pid)
    finally:
        run.kill()
        run.wait()
    wait_for(lambda: not is_there(trains))


@pytest.mark.slow
def test_a_progress_bar_counts_its_steps():
    page = Console(file=io.StringIO(), force_terminal=True, width=80)
    learn(console=page)
    assert "training the classifier" in page.file.getvalue()
