"""The launchers start as modules, as files and as parts of the installed package, from any directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder for PYTHONPATH with the package as pip installs it: configs/ and launch/ are inside."""
    folder = tmp_path_factory.mktemp("installed")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "biggan_jax", folder / "biggan_jax", ignore=ignore)
    for name in ("configs", "launch"):
        shutil.copytree(ROOT / name, folder / "biggan_jax" / name, ignore=ignore)
    return folder


def start(way: str, launcher: str, installed: Path, elsewhere: Path) -> tuple[list[str], dict]:
    """The first words of a launcher's command, and where it runs."""
    path = {"module": ROOT, "installed": installed}.get(way)
    words = {
        "module": ["-m", f"launch.{launcher}"],
        "file": [str(ROOT / "launch" / f"{launcher}.py")],
        "installed": ["-m", f"biggan_jax.launch.{launcher}"],
    }[way]
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return [sys.executable, *words], {"cwd": elsewhere, "env": environment}


WAYS = ("module", "file", "installed")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("launcher", ["local", "sweep", "tpu_pod"])
def test_a_launcher_shows_its_help(way, launcher, installed, tmp_path):
    command, place = start(way, launcher, installed, tmp_path)
    shown = subprocess.run([*command, "--help"], **place, capture_output=True, text=True)
    assert shown.returncode == 0 and f"launch/{launcher}.py" in shown.stdout, shown.stderr


@pytest.mark.parametrize("way", WAYS)
def test_local_runs_a_command_in_two_processes(way, installed, tmp_path):
    command, place = start(way, "local", installed, tmp_path)
    words = ["--processes=2", "--", sys.executable, "-c", "import sys; print(sys.argv[-1])"]
    run = subprocess.run([*command, *words], **place, capture_output=True, text=True)
    assert sorted(run.stdout.splitlines()) == ["0| --process_id=0", "1| --process_id=1"], run.stderr


@pytest.mark.parametrize("way", WAYS)
def test_tpu_pod_prints_its_commands_and_how_to_go_on(way, installed, tmp_path):
    command, place = start(way, "tpu_pod", installed, tmp_path)
    run = subprocess.run(
        [*command, "status", "--name=pod", "--dry_run"], **place, capture_output=True, text=True
    )
    assert run.returncode == 0 and "gcloud compute tpus queued-resources describe pod" in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_sweep_finds_the_pod_launcher_beside_itself(way, installed, tmp_path):
    command, place = start(way, "sweep", installed, tmp_path)
    (tmp_path / "sweep.py").write_text(
        "BASE_CONFIG = 'configs/fashion_mnist.py'\ndef sweep():\n    return [{'seed': 0}, {'seed': 1}]\n"
    )
    os.symlink(ROOT / "configs", tmp_path / "configs")
    flags = [f"--sweep={tmp_path / 'sweep.py'}", f"--workdir={tmp_path / 'runs'}", "--runner=tpu_pod"]
    run = subprocess.run(
        [*command, *flags, "--runner_flags=--dry_run"], **place, capture_output=True, text=True
    )
    log = (tmp_path / "runs" / "seed=0" / "log.txt").read_text()
    assert "give gs://BUCKET/DIRECTORY" in log, run.stdout + run.stderr  # tpu_pod itself refuses the workdir
    assert ("-m biggan_jax.launch.tpu_pod" if way == "installed" else f"{ROOT}/launch/tpu_pod.py") in log
