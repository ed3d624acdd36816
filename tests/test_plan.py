"""The command: its words, its errors, its output, and Ctrl-C, with a compiler that stands in."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
CONFIG = "--config=configs/fashion_mnist.py"

# What is compiled is one number; slices are made of this machine's simulated devices.
STAND_IN = """
import runpy, time, jax
from biggan_jax.planning import estimate, slices

def open_slice(name):
    if name == "none":
        raise slices.UserError("--topology=none: no such slice")
    return slices.Slice(name, slices.GENERATIONS["v3"], jax.devices()[:len(name)], 1, 2**30)

def make_plan(config, pod, tell):
    tell("compiling")
    time.sleep(60 if pod.name == "wait" else 0)
    fits = pod.name != "xx"
    return estimate.Plan(pod.name, len(pod.devices), 1, 4, fits, 10, 20, 3, 7, config.total_steps / 1e3)

slices.open_slice, estimate.make_plan = open_slice, make_plan
runpy.run_module("biggan_jax.plan", run_name="__main__", alter_sys=True)
"""


def start(*words, script=STAND_IN):
    environment = {
        "PATH": os.environ["PATH"],
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-c", script, CONFIG, *words]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, **pipes)


def run(*words, **options):
    process = start(*words, **options)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def test_json_is_one_object_a_line_and_topology_and_progress_is_not_among_it():
    code, output, errors = run("--topology=x,xx", "--json", "--config.total_steps=5000")
    assert code == 0, errors
    plans = [json.loads(line) for line in output.splitlines()]
    assert [(plan["topology"], plan["replicas"], plan["fits"]) for plan in plans] == [
        ("x", 1, True),
        ("xx", 2, False),
    ]
    assert {"hbm_bytes", "hbm_limit_bytes", "tflop_per_step", "seconds_per_step", "hours"} <= set(plans[0])
    assert plans[0]["tflop_per_step"] == 5.0  # the config is the one with what the command line changes
    assert errors.splitlines() == ["x (1 of 2): compiling", "xx (2 of 2): compiling"]


def test_the_table_has_both_slices_and_suggestions_for_the_one_that_does_not_fit():
    code, output, errors = run("--topology=x,xx")
    assert code == 0, errors
    assert "batches of 32, 3,000 steps" in output and "estimate" in output
    assert output.count("does not fit. Suggestions:") == 1 and "xx: does not fit" in output
    assert "--config.model.remat=True" in output


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "--topology is missing: Slice of TPUs, such as v3:8x8"),
        (["--topology=x,none"], "--topology=none: no such slice"),
        (["--topology=x,xxx"], "config.batch_size = 32: the batch is divided among 3 replicas"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_compiled(words, error):
    code, output, errors = run(*words)
    assert code == 2 and output == ""
    assert errors.startswith(f"error: {error}") and len(errors.splitlines()) == 1


def test_without_the_compiler_the_command_says_how_to_install_it():
    script = "import sys, runpy; sys.modules['libtpu'] = None\n"
    script += "runpy.run_module('biggan_jax.plan', run_name='__main__', alter_sys=True)"
    code, output, errors = run("--topology=v3:2x2", script=script)
    assert code == 2 and output == ""
    assert errors.startswith("error: the compiler for TPUs is not installed: pip install '.[tpu]'")


def test_ctrl_c_ends_a_compiler_that_does_not_listen():
    process = start("--topology=wait")
    assert process.stderr.readline() == "wait (1 of 1): compiling\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert process.stderr.read() == ""
