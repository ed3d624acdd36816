"""The sweep command: what it starts, in which order, again or not, and what it leaves alone."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from compiling import xla_flags
from etils import epath
from PIL import Image

from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.jobs import Job, Task
from biggan_jax.sweeps.sweep_file import Run, read_sweep

ROOT = Path(__file__).parents[2]
SWEEP = [sys.executable, str(ROOT / "launch" / "sweep.py")]
STEPS = 90

CONFIG = f"""
from biggan_jax.config import default_config

def get_config():
    config = default_config()
    config.update(batch_size=8, total_steps={STEPS}, d_steps=1, log_every=1, checkpoint_every=50)
    config.model.update(
        resolution=8, channels=2, generator_channels=(1, 1), discriminator_channels=(1,),
        num_classes=2, latent_dim=4, class_embedding_dim=4, attention_resolution=0,
    )
    config.ema.update(decay=0.9, start_step=2)
    config.sampling.update(standing_passes=2, batch_size=10, samples_per_class=2)
    config.data.source = "folder:IMAGES"
    return config
"""


def write_sweep(folder: Path, body: str) -> str:
    (folder / "config.py").write_text(CONFIG.replace("IMAGES", str(folder / "images")))
    path = folder / "sweep.py"
    path.write_text(f"BASE_CONFIG = {str(folder / 'config.py')!r}\ndef sweep():\n    return {body}\n")
    return str(path)


def call(*flags: str, **environment: str) -> subprocess.CompletedProcess:
    variables = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    return subprocess.run([*SWEEP, *flags], cwd=ROOT, env=variables, capture_output=True, text=True)


# ---- the whole, with real training


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_goes_on_past_a_failed_run_and_never_runs_a_finished_one_twice(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(20):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    broken = "{'name': 'it is; broken', 'data.source': 'folder:/nowhere'}"
    sweep = write_sweep(tmp_path, f"[{{'seed': 0}}, {broken}, {{'seed': 1}}]")
    workdir = tmp_path / "the runs' $HOME"
    flags = [f"--sweep={sweep}", f"--workdir={workdir}"]
    cache = {
        "BIGGAN_CACHE": str(tmp_path / "cache"),
        "XLA_FLAGS": xla_flags(devices=1),
    }

    process = subprocess.Popen(
        [*SWEEP, *flags], cwd=ROOT, env=os.environ | cache, stdout=subprocess.PIPE, text=True
    )
    wait_for_row(workdir / "seed=0", 5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert "the same command goes on" in out and not (workdir / "seed=1").exists()
    saved = max(int(path.name) for path in (workdir / "seed=0" / "checkpoints").glob("0*"))
    assert 5 <= saved < STEPS

    again = call(*flags, **cache)
    assert again.returncode == 1, again.stdout + again.stderr
    failed = next(path for path in workdir.iterdir() if path.name.startswith("it_is_broken"))
    assert "2 of 3 runs are finished" in again.stdout
    report = rf"failed: {failed.name}: exit code 2: error: folder:/nowhere .*\n  its output: "
    assert re.search(report + re.escape(f"{failed}/log.txt"), again.stdout)
    assert f"resuming at step {saved}" in (workdir / "seed=0" / "log.txt").read_text()
    for seed in (0, 1):
        rows = (workdir / f"seed={seed}" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["step"] for row in rows] == list(range(1, STEPS + 1))

    logs = {seed: (workdir / f"seed={seed}" / "log.txt").read_text() for seed in (0, 1)}
    third = call(*flags, "--only=seed=0", "--only=seed=1", **cache)
    assert third.returncode == 0 and third.stdout.count("was finished already") == 2
    assert logs == {seed: (workdir / f"seed={seed}" / "log.txt").read_text() for seed in (0, 1)}
    summary = call(*flags, "--summary")
    assert summary.returncode == 0 and "has failed: folder:/nowhere" in (workdir / "summary.md").read_text()
    assert {path.suffix for path in workdir.glob("summary.*")} == {".csv", ".md", ".html"}


def wait_for_row(directory: Path, step: int) -> None:
    path, deadline = directory / "metrics.jsonl", time.monotonic() + 300
    while not path.exists() or f'"step": {step},' not in path.read_text():
        assert time.monotonic() < deadline, f"no row of step {step} in {path}"
        time.sleep(0.05)


# ---- one after another, with scripts for training


@pytest.fixture
def one_by_one(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from launch import one_by_one

    return one_by_one


@pytest.fixture
def jobs(tmp_path):
    """Makes a job of each name, whose tasks are Python scripts."""
    (run,) = read_sweep(write_sweep(tmp_path, "[{}]"))

    def make(**scripts: list[str]) -> list[Job]:
        workdir = epath.Path(tmp_path / "sweep")
        return [
            Job(
                Run(name, run.base, {}, run.config),
                workdir / name,
                [Task(f"task {i}", ["-c", script]) for i, script in enumerate(tasks)],
            )
            for name, tasks in scripts.items()
        ]

    return make


def python(job: Job, task: Task) -> list[str]:
    return [sys.executable, *task.arguments]


NOTE = "open({!r}, 'a').write({!r}); "


def test_a_failure_ends_its_job_and_no_other_and_the_last_error_is_told(one_by_one, jobs, tmp_path, capsys):
    note = str(tmp_path / "note")
    crash = NOTE.format(note, "b") + "print('error: earlier'); raise ValueError('no such luck')"
    found = jobs(
        a=[NOTE.format(note, "a")],
        b=[crash, NOTE.format(note, "never")],
        c=[NOTE.format(note, "c"), NOTE.format(note, "d")],
        done=[],
    )
    code = one_by_one.run_one_by_one(found, epath.Path(tmp_path / "sweep"), python, max_restarts=0)
    out = capsys.readouterr().out
    assert code == 1 and Path(note).read_text() == "abcd"
    assert "3 of 4 runs are finished" in out and "done: was finished already" in out
    assert "failed: b: exit code 1: error: earlier" in out


@pytest.mark.parametrize(
    ("max_restarts", "code", "starts"),
    [(5, 0, 3), (1, 1, 2), (None, 75, 1)],  # None: of a pod, where somebody has asked for the end
)
def test_exit_code_75_starts_a_run_again_but_not_for_ever(
    one_by_one, jobs, tmp_path, capsys, max_restarts, code, starts
):
    note = str(tmp_path / "note")
    script = NOTE.format(note, "x") + f"raise SystemExit(75 if len(open({note!r}).read()) < 3 else 0)"
    found = one_by_one.run_one_by_one(
        jobs(a=[script]), epath.Path(tmp_path / "sweep"), python, max_restarts=max_restarts
    )
    assert (found, len(Path(note).read_text())) == (code, starts)
    assert ("giving up" in capsys.readouterr().out) == (code == 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_reaches_the_run_once_and_ends_the_sweep(one_by_one, jobs, tmp_path, number, code):
    note = str(tmp_path / "note")
    script = (
        "import os, signal, time\n"
        f"signal.signal({int(number)}, lambda *_: {NOTE.format(note, 'saved').rstrip('; ')})\n"
        f"os.kill({os.getpid()}, {int(number)}); time.sleep(0.5)"
    )
    before = signal.getsignal(number)
    found = one_by_one.run_one_by_one(
        jobs(a=[script], b=[NOTE.format(note, "never")]), epath.Path(tmp_path / "sweep"), python, 5
    )
    assert (found, Path(note).read_text()) == (code, "saved")
    assert signal.getsignal(number) is before


def test_a_killed_sweep_leaves_its_run_alone_until_that_has_ended(one_by_one, jobs, tmp_path):
    """Two processes in one workdir would spoil it, and a SIGKILL is not passed on."""
    (job,) = jobs(a=["import time; print('here', flush=True); time.sleep(60)"])
    script = (
        "import sys; from etils import epath; from biggan_jax.sweeps.jobs import Job, Task\n"
        "from biggan_jax.sweeps.sweep_file import read_sweep; from launch.one_by_one import run_one_by_one\n"
        f"(run,) = read_sweep({str(tmp_path / 'sweep.py')!r})\n"
        f"job = Job(run, epath.Path({str(job.directory)!r}), [Task('train', [])])\n"
        f"run_one_by_one([job], job.directory.parent, lambda *_: {python(job, job.tasks[0])!r}, 0)"
    )
    sweep = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    log, deadline = Path(job.directory) / "log.txt", time.monotonic() + 60
    while not log.exists() or "\nhere\n" not in log.read_text():
        assert time.monotonic() < deadline and sweep.poll() is None
        time.sleep(0.05)
    sweep.kill()
    sweep.wait()
    with pytest.raises(UserError, match=r"a sweep is at work .*\(process \d+\)") as refused:
        one_by_one.run_one_by_one([job], job.directory.parent, python, 0)
    os.kill(int(re.search(r"process (\d+)", str(refused.value))[1]), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while True:
        try:
            assert one_by_one.run_one_by_one([job._replace(tasks=[])], job.directory.parent, python, 0) == 0
            return
        except UserError:  # the process is not gone yet
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_classifier_is_lent_to_the_next_run_and_its_own_is_not_overwritten(one_by_one, jobs, tmp_path):
    name = "classifier-0123456789ab.safetensors"
    train = (
        "import pathlib, sys; folder = pathlib.Path({!r}); folder.mkdir(parents=True, exist_ok=True); "
        "(folder / {!r}).write_text('trained once'); (folder / 'other.safetensors').write_text('own')"
    )
    folder = tmp_path / "sweep" / "{}" / "evaluation"
    look = "assert open({!r}).read() == 'trained once'"
    found = jobs(
        a=[train.format(str(folder).format("a"), name)],
        b=[look.format(str(folder / name).format("b"))],
    )
    assert one_by_one.run_one_by_one(found, epath.Path(tmp_path / "sweep"), python, 0) == 0
    lent = Path(str(folder).format("b"))
    assert [path.name for path in lent.iterdir()] == [name]
    (lent / name).write_text("b's own")
    found = jobs(a=[], b=[look.format(str(folder / name).format("b"))])
    assert one_by_one.run_one_by_one(found, epath.Path(tmp_path / "sweep"), python, 0) == 1
    assert (lent / name).read_text() == "b's own"


# ---- what is started


def test_nothing_is_started_when_a_field_of_the_last_run_is_misspelt(tmp_path):
    sweep = write_sweep(tmp_path, "[{'seed': 0}, {'model.chanels': 3}]")
    found = call(f"--sweep={sweep}", f"--workdir={tmp_path / 'runs'}")
    assert found.returncode == 2 and "Traceback" not in found.stderr
    assert "nothing was started" in found.stderr and "did you mean config.model.channels?" in found.stderr
    assert not (tmp_path / "runs").exists()


def test_what_is_printed_becomes_the_same_words_in_a_shell_whatever_they_hold(tmp_path):
    odd = 'folder:it\'s; a "set" of `date` $HOME\\n\n*'
    sweep = write_sweep(tmp_path, f"[{{'name': 'one run; & $HOME', 'data.source': {odd!r}}}]")
    workdir = tmp_path / "my runs; 'all'"
    found = call(
        f"--sweep={sweep}",
        f"--workdir={workdir}",
        "--runner=print",
        "--evaluate",
        "--evaluate_flags=--num_samples=100 --output='a b'",
    )
    assert found.returncode == 0, found.stderr
    (run,) = read_sweep(sweep)
    place = f"--workdir={workdir / run.name}"
    train = ["-m", "biggan_jax.train", f"--config={tmp_path / 'config.py'}", f"--config.data.source={odd}"]
    judge = ["-m", "biggan_jax.evaluate", "--num_samples=100", "--output=a b"]
    expected = ["python", *train, place, "python", *judge, place]
    assert shlex.split(found.stdout) == expected
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "python"
    fake.write_text('#!/bin/sh\nprintf "%s\\0" python "$@"\n')
    fake.chmod(0o755)
    ran = subprocess.run(
        ["bash", "-c", found.stdout], env={"PATH": f"{fake.parent}:/bin"}, capture_output=True, text=True
    )
    assert ran.stdout.split("\0")[:-1] == expected
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--evaluate_flags=--cas"], "--evaluate, which is missing"),
        (["--runner_flags=--spot"], "--runner=local has no flags"),
        (
            ["--runner=slurm", "--runner_flags=--comment='x"],
            "--runner_flags=--comment='x: No closing quotation",
        ),
        (["--runner=slurm", "--evaluate"], "only trains"),
        (["--runner=slurm"], "squeue is not installed"),
        (["--only=seed=7"], "no such run; it has seed=0"),
        (["--summary"], "no run of this sweep has begun"),
        (["--runner=cloud"], "cloud"),
    ],
)
def test_flags_that_would_do_nothing_or_cannot_be_done_are_refused_with_the_remedy(tmp_path, flags, said):
    sweep = write_sweep(tmp_path, "[{'seed': 0}]")
    found = call(f"--sweep={sweep}", f"--workdir={tmp_path / 'runs'}", *flags, PATH="/nowhere")
    assert found.returncode == 2 and said in found.stderr and "Traceback" not in found.stderr
    assert not (tmp_path / "runs").exists()


# ---- SLURM and pods

FAKE_SBATCH = """#!{python}
import json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if "--job-name=seed=1" in sys.argv and os.environ.get("REFUSE"):
    sys.exit("sbatch: error: Batch job submission failed: Invalid account")
print(100 + len(open({calls!r}).readlines()), end=";cluster\\n")
"""


def test_slurm_gets_each_run_once_with_its_words_unbroken_and_a_refused_one_later(tmp_path):
    calls, bin = tmp_path / "calls", tmp_path / "bin"
    bin.mkdir()
    for name, text in {
        "sbatch": FAKE_SBATCH.format(python=sys.executable, calls=str(calls)),
        "squeue": f"#!/bin/sh\ncat {tmp_path / 'queue'}\n",
    }.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    (tmp_path / "queue").write_text("")
    sweep = write_sweep(tmp_path, "[{'seed': 0}, {'seed': 1}, {'seed': 2}]")
    workdir = tmp_path / "100% my runs"
    flags = [
        f"--sweep={sweep}",
        f"--workdir={workdir}",
        "--runner=slurm",
        "--runner_flags=--account='our lab'",
    ]
    path = f"{bin}:{os.environ['PATH']}"

    first = call(*flags, PATH=path, REFUSE="1")
    assert first.returncode == 1 and "seed=1: sbatch failed: sbatch: error: Batch job" in first.stdout
    words = [json.loads(line) for line in calls.read_text().splitlines()]
    assert words[0] == [
        "--parsable",
        "--job-name=seed=0",
        f"--output={tmp_path}/100%% my runs/seed=0/slurm-%j.log",
        "--account=our lab",
        str(ROOT / "launch" / "slurm.sbatch"),
        f"--config={tmp_path / 'config.py'}",
        "--config.seed=0",
        f"--workdir={workdir / 'seed=0'}",
    ]
    (tmp_path / "queue").write_text("103\n7\n")  # of seed=2; that of seed=0, 101, has ended, and failed
    second = call(*flags, PATH=path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "seed=2: in the queue as job 103" in second.stdout
    jobs = [next(w for w in json.loads(x) if "job-name" in w) for x in calls.read_text().splitlines()]
    assert jobs[3:] == ["--job-name=seed=0", "--job-name=seed=1"]


def test_the_pod_launcher_takes_what_a_sweep_gives_it(one_by_one, jobs, tmp_path):
    (job,) = jobs(row1=[""])
    task = Task("train", ["-m", "biggan_jax.train", "--config=configs/imagenet128.py"])
    job = job._replace(directory=epath.Path("gs://bucket/My sweep/row1"))
    flags = ["--dry_run", "--zone=zone-a", "--accelerator_type=v3-128"]
    command = one_by_one.command_on_pod("1st sweep; of Us!", flags, job, task)
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "create sweep-1st-sweep-of-us " in found.stdout
    start = next(line for line in found.stdout.splitlines() if " start " in line)
    on_host = shlex.split(next(word for word in shlex.split(start) if word.startswith("--command=")))
    assert on_host[-5:] == [
        "python",
        "-m",
        "biggan_jax.train",
        "--config=configs/imagenet128.py",
        "--workdir=gs://bucket/My sweep/row1",
    ]
