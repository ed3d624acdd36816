"""After `pip install .`, outside of the clone: commands, configs, sweeps and launchers are all there."""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import biggan_jax
from biggan_jax.__main__ import commands

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("biggan_jax", "configs", "launch", "pyproject.toml", "setup.py", "requirements.txt")
TEXTS = ("README.md", "LICENSE")

pytestmark = pytest.mark.slow


class Installed:
    """A virtual environment with the package as a wheel, and this environment's packages besides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "environment/bin/python"
        (self.packages,) = (folder / "environment/lib").glob("python*/site-packages")

    def run(self, *words: str) -> subprocess.CompletedProcess:
        # In a folder of its own, and without the clone on the path.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [self.python, *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in (*SOURCES, *TEXTS):  # a copy, for a build leaves files behind
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(build, check=True, timeout=600)
    shutil.rmtree(source)
    venv.create(folder / "environment", with_pip=False)
    result = Installed(folder)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", result.python, "install", "--no-deps", wheel], check=True, timeout=600)
    # Python does not read the .pth files of a folder named in one: the editable install stays out.
    (result.packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return result


def test_the_wheel_has_every_module_and_every_file_of_the_launchers(installed):
    def files(folder: Path) -> set[str]:
        found = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        return {str(file.relative_to(folder)) for file in found}

    package = installed.packages / "biggan_jax"
    expected = files(REPOSITORY / "biggan_jax")
    for name in ("configs", "launch"):
        expected |= {f"{name}/{file}" for file in files(REPOSITORY / name)}
    assert files(package) == expected
    assert "py.typed" in expected and "launch/slurm.sbatch" in expected


def test_commands_are_listed_and_the_version_is_that_of_the_clone(installed):
    done = installed.run("-m", "biggan_jax")
    assert done.returncode == 0, done.stderr
    assert all(f"python -m biggan_jax.{command} " in done.stdout for command in commands())
    done = installed.run("-c", "import biggan_jax; print(biggan_jax.__file__, biggan_jax.__version__)")
    path, version = done.stdout.split(maxsplit=1)
    assert Path(path).is_relative_to(installed.packages)
    assert version.split()[0].split("+")[0] == biggan_jax.__version__.split()[0].split("+")[0]


def test_a_config_is_found_by_its_name(installed):
    done = installed.run("-m", "biggan_jax.describe", "--config=imagenet128")
    assert done.returncode == 0 and "70,433,988" in done.stdout, done.stderr


def test_training_starts_from_a_shipped_config(installed):
    done = installed.run(
        "-m",
        "biggan_jax.train",
        "--config=fashion_mnist",
        "--dry_run",
        "--workdir=run",
        "--config.batch_size=8",
    )
    assert done.returncode == 0, done.stderr
    assert (installed.folder / "run/dry_run.png").is_file()


@pytest.mark.parametrize("launcher", ["sweep", "local", "tpu_pod"])
def test_launchers_run_as_modules_of_the_package(installed, launcher):
    done = installed.run("-m", f"biggan_jax.launch.{launcher}", "--help")
    assert done.returncode == 0 and "Flags:" in done.stdout, done.stderr


def test_a_sweep_and_its_base_config_are_found_by_name(installed):
    module = "biggan_jax.sweeps.sweep_file"
    done = installed.run(
        "-c", f"from {module} import read_sweep; print(len(read_sweep('ablation_fashion_mnist')))"
    )
    assert done.returncode == 0 and int(done.stdout) > 1, done.stderr
