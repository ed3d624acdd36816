"""Several processes on this machine: what the launcher starts, restarts and gives up."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import compiling
import jax
import numpy as np
import pytest
from PIL import Image

from biggan_jax.config import default_config
from biggan_jax.training.run.checkpoints import Checkpoints
from biggan_jax.training.step.state import abstract_state

ROOT = Path(__file__).parents[2]
LAUNCHER = [sys.executable, str(ROOT / "launch" / "local.py")]


def launch(*flags: str, script: str) -> subprocess.Popen:
    command = [*LAUNCHER, *flags, "--", sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    out, _ = process.communicate(timeout=120)
    return process.returncode, out


def test_each_process_is_told_its_place_and_its_lines_are_numbered():
    script = "import sys, os; print(*sys.argv[1:], os.environ['XLA_FLAGS'])"
    code, out = finish(launch("--processes=3", "--devices=2", script=script))
    assert code == 0
    for index in range(3):
        assert re.search(
            rf"^{index}\| --coordinator_address=127\.0\.0\.1:\d+ --num_processes=3 --process_id={index} "
            ".*xla_force_host_platform_device_count=2$",
            out,
            re.MULTILINE,
        )
    assert len(set(re.findall(r"127\.0\.0\.1:\d+", out))) == 1


# Each start adds a letter to a file: as many as there were, so many starts.
COUNTED = (
    "import os, sys, time; me = int(sys.argv[-1].split('=')[1])\n"
    "if me == 0: open({file!r}, 'a').write('x')\n"
    "time.sleep(0.2); starts = len(open({file!r}).read())\n"
)


@pytest.mark.parametrize(
    ("ending", "code", "starts"),
    [
        ("sys.exit(75 if starts < 3 else 0)", 0, 3),  # preempted twice
        ("os.kill(os.getpid(), 9) if me == 1 and starts < 2 else None", 0, 2),  # killed once
        ("sys.exit(2 if me == 1 else 75)", 2, 1),  # a mistake of the user's
        ("sys.exit(1)", 1, 3),  # a bug, twice more than allowed
    ],
)
def test_failures_are_started_again_but_not_mistakes_and_not_for_ever(tmp_path, ending, code, starts):
    file = tmp_path / "starts"
    script = COUNTED.format(file=str(file)) + ending
    found, out = finish(launch("--processes=2", "--max_restarts=2", script=script))
    assert (found, len(file.read_text())) == (code, starts), out


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)]
)
def test_a_signal_reaches_every_process_and_nothing_is_started_again(number, code):
    script = (
        "import signal, sys, time\n"
        "for n in (1, 2, 15): signal.signal(n, lambda n, _: (print('got', n, flush=True), sys.exit(75)))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = launch("--processes=2", script=script)
    for _ in range(2):
        assert "ready" in process.stdout.readline()
    process.send_signal(number)
    found, out = finish(process)
    assert found == code and out.count(f"got {int(number)}") == 2 and "again" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes=2"], "give the command after --"),
        (["--processes=2", "--", "/no/such/program", "x"], "'/no/such/program' cannot be run: No such file"),
        (["--proceses=2", "--", "true"], "Did you mean: processes"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_remedy(words, message):
    result = subprocess.run([*LAUNCHER, *words], capture_output=True, text=True)
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1


# ---- chaos

TRAINING = """
from biggan_jax.config import default_config

def get_config():
    config = default_config()
    config.update(batch_size=8, total_steps=14, d_steps=1, log_every=1, sample_every=0, checkpoint_every=3)
    config.model.update(
        resolution=8, channels=2, generator_channels=(1, 1), discriminator_channels=(1,),
        num_classes=2, latent_dim=4, class_embedding_dim=4, attention_resolution=0,
    )
    config.ema.update(decay=0.9, start_step=2)
    config.sampling.update(standing_passes=2, batch_size=10, samples_per_class=2)
    config.data.source = "folder:IMAGES"
    config.replicas.mapping = "shard_map"
    return config
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Starts a run of two processes, on a folder of noise, in a workdir."""
    place = tmp_path_factory.mktemp("two")
    rng = np.random.default_rng(0)
    for number in range(20):
        file = place / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    (place / "config.py").write_text(TRAINING.replace("IMAGES", str(place / "images")))
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": compiling.QUICKLY,
        "BIGGAN_CACHE": str(place / "cache"),
    }

    def start(workdir: Path) -> subprocess.Popen:
        train = [sys.executable, "-m", "biggan_jax.train", f"--config={place / 'config.py'}"]
        return subprocess.Popen(
            [*LAUNCHER, "--processes=2", "--devices=1", "--", *train, f"--workdir={workdir}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def children(process: subprocess.Popen) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(number) for path in listed for number in path.read_text().split()]


def wait_for_row(workdir: Path, step: int) -> None:
    path, deadline = workdir / "metrics.jsonl", time.monotonic() + 300
    while not path.exists() or f'"step": {step},' not in path.read_text():
        assert time.monotonic() < deadline, f"no row of step {step} in {path}"
        time.sleep(0.02)


def final_state(workdir: Path):
    config = default_config()
    namespace: dict = {}
    exec(TRAINING, namespace)
    config = namespace["get_config"]()
    restored = Checkpoints(workdir / "checkpoints", config, read_only=True).restore_latest(
        abstract_state(config)
    )
    assert restored.step == config.total_steps
    return restored.state


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in Linux's /proc")
def test_a_run_that_is_killed_and_preempted_comes_bit_for_bit_to_the_end_of_one_that_is_not(
    two_processes, tmp_path
):
    code, out = finish_training(two_processes(tmp_path / "undisturbed"))
    assert code == 0, out

    disturbed = tmp_path / "disturbed"
    launcher = two_processes(disturbed)
    killed_at, preempted_at = random.randint(1, 6), random.randint(7, 12)
    wait_for_row(disturbed, killed_at)
    os.kill(random.choice(children(launcher)), signal.SIGKILL)
    wait_for_row(disturbed, preempted_at)
    for process in children(launcher):
        os.kill(process, signal.SIGTERM)
    code, out = finish_training(launcher)
    what = f"killed at step {killed_at}, preempted at step {preempted_at}:\n{out[-3000:]}"
    assert code == 0, what
    assert out.count("starting again") == 2, what
    assert re.search(r"exit codes \[75, 75\]", out), what
    expected = final_state(tmp_path / "undisturbed")
    for a, b in zip(jax.tree.leaves(final_state(disturbed)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=what)
    steps = re.findall(r'^{"step": (\d+),', (disturbed / "metrics.jsonl").read_text(), re.MULTILINE)
    assert steps == [str(step) for step in range(1, 15)], what


def finish_training(process: subprocess.Popen) -> tuple[int, str]:
    out, _ = process.communicate(timeout=900)
    return process.returncode, out
