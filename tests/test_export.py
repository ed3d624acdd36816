"""The command: from a run's workdir to a folder that draws its images, or to no folder at all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from rich.console import Console
from tiny_exports import SIZE
from tiny_workdirs import make_run_config, random_state, write_run

import biggan_jax
from biggan_jax.exports.export_files import CONFIG, GENERATOR
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.standing_statistics import prepare_generator
from biggan_jax.training.run.exporting import TRUNCATIONS, export_run

REPOSITORY = Path(__file__).parents[1]
NAMES = ["sandal", "bag", "ankle boot"]
BEST = {"checkpoints.best": 1, "checkpoints.metric": "fid@x", "evaluation.every": 1_000}

# The command where what is written differs in one number from what was to be written.
FAULTY = """
import runpy
from biggan_jax.exports import export_files
whole = export_files._tensors
def faulty(exported):
    tensors = whole(exported)
    tensors["params/conv/bias"] = tensors["params/conv/bias"] + 0.1
    return tensors
export_files._tensors = faulty
runpy.run_module("biggan_jax.export", run_name="__main__", alter_sys=True)
"""


def command(*arguments, program=("-m", "biggan_jax.export")):
    return [sys.executable, *program, *map(str, arguments)]


def run(*arguments, **fields):
    environment = {**os.environ, "COLUMNS": "110"}
    return subprocess.run(
        command(*arguments, **fields),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment,
        timeout=300,
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run whose step 20 is the best and whose step 40 is the newest."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    scores = {20: {"fid@x": 3.0}, 30: {"fid@x": 5.0}, 40: {"fid@x": 4.0}}
    write_run(folder, make_run_config(**BEST), scores)
    (folder / "classes.json").write_text(json.dumps(NAMES))
    return folder


def own_images(step, truncations, truncation, labels=(0, 1, 2)):
    """What the run itself would draw."""
    config, state = make_run_config(), random_state(make_run_config(), seed=step)
    exported = prepare_generator(config, state.ema_params, state.generator.u, truncations)
    return Sampler(exported, batch_size=3).sample(labels, truncation, seed=5)


def exported_images(folder, truncation, labels=(0, 1, 2)):
    return biggan_jax.load(folder, batch_size=3).sample(labels, truncation, seed=5)


def test_the_command_writes_a_folder_that_draws_the_runs_images(workdir, tmp_path):
    done = run(
        f"--workdir={workdir}", f"--output={tmp_path}/[out]/export", "--stablehlo", "--truncations=0.5,0"
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "[out]" / "export"
    files = ["README.md", CONFIG, GENERATOR, "sampler.stablehlo"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert "step 40: statistics at 2 truncations, 2 passes of 8 images" in done.stdout
    assert f"written to {folder}; a fresh process generates the same images" in done.stdout
    assert "sampler.stablehlo" in done.stdout
    for truncation in (0.5, 0.0, 0.8):
        expected = own_images(40, [0.5, 0.0], truncation)
        assert expected.shape == (3, SIZE, SIZE, 3) and expected.std() > 10
        np.testing.assert_array_equal(exported_images(folder, truncation), expected)
    generator = biggan_jax.load(folder)
    assert generator.class_names == tuple(NAMES) and generator.provenance["step"] == 40
    card = (folder / "README.md").read_text()
    assert "ankle boot" in card and "sampler.stablehlo" in card and str(tmp_path) not in card
    config = (folder / CONFIG).read_text()
    assert str(workdir.parent) not in config and str(tmp_path) not in config
    assert [path.name for path in (tmp_path / "[out]").iterdir()] == ["export"]


def export(workdir, output, step=None, **fields):
    export_run(epath.Path(workdir), step, output, Console(quiet=True), **fields)


def test_by_default_the_grid_is_stored_and_ends_untruncated(workdir, tmp_path):
    export(workdir, tmp_path / "export")
    stored = biggan_jax.load(tmp_path / "export").truncations
    assert stored == TRUNCATIONS and stored[-1] == 0


@pytest.mark.parametrize(("step", "expected"), [("best", 20), (30, 30), (None, 40)])
def test_the_step_is_the_one_asked_for(workdir, tmp_path, step, expected, monkeypatch):
    monkeypatch.setattr("biggan_jax.training.run.exporting.verify", lambda *_: None)
    export(workdir, tmp_path / "export", step, truncations=[0.0])
    assert biggan_jax.load(tmp_path / "export").provenance["step"] == expected
    np.testing.assert_array_equal(exported_images(tmp_path / "export", 0.0), own_images(expected, [0.0], 0.0))


def test_latents_that_are_not_normal_are_stored_untruncated_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("biggan_jax.training.run.exporting.verify", lambda *_: None)
    write_run(tmp_path / "run", make_run_config(**{"model.latent_distribution": "uniform"}), {1: {}})
    export(tmp_path / "run", tmp_path / "export")
    assert biggan_jax.load(tmp_path / "export").truncations == (0,)
    with pytest.raises(UserError, match="truncation = 0.5 with uniform latents"):
        export(tmp_path / "run", tmp_path / "other", truncations=[0.5])


def test_what_cannot_be_is_refused_before_any_work(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "biggan_jax.training.run.averaged_generator.prepare_generator", lambda *_, **__: 1 / 0
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(UserError, match="mine exists already"):
        export(workdir, tmp_path / "mine")
    with pytest.raises(UserError, match="no run here"):
        export(tmp_path / "mine", tmp_path / "export")
    with pytest.raises(UserError, match="--step=25: the checkpoints in .* are of the steps 20, 30, 40"):
        export(workdir, tmp_path / "export", 25)
    with pytest.raises(UserError, match="truncation = -1"):
        export(workdir, tmp_path / "export", truncations=[-1.0])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_export_that_draws_other_images_is_removed_and_exits_with_2(workdir, tmp_path):
    arguments = (f"--workdir={workdir}", f"--output={tmp_path}/export", "--truncations=0")
    done = run(*arguments, program=("-c", FAULTY))
    assert done.returncode == 2
    assert "error: in a fresh process the export generates other images" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_ctrl_c_leaves_nothing_and_says_so(workdir, tmp_path):
    saved = json.loads((workdir / CONFIG).read_text())
    saved["sampling"]["standing_passes"] = 10**6
    long = tmp_path / "long"
    long.mkdir()
    (long / CONFIG).write_text(json.dumps(saved))
    (long / "classes.json").write_text(json.dumps(NAMES))
    (long / "checkpoints").symlink_to(workdir / "checkpoints")
    process = subprocess.Popen(
        command(f"--workdir={long}", f"--output={tmp_path}/export", "--truncations=0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert "statistics at 1 truncation, " in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted: there is no export" in out, err
    assert "Traceback" not in err and [path.name for path in tmp_path.iterdir()] == ["long"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--output=x",), "--workdir is missing"),
        (("--workdir=x",), "--output is missing"),
        (("--workdir=x", "--output=y", "--best", "--step=3"), "--best and --step=3: give one of them"),
        (("--workdir=x", "--output=gs://b/y"), "--output=gs://b/y: give a folder on this machine"),
        (("--workdir=x", "--output=y", "--truncations=0.5,half"), "--truncations=0.5,half: give numbers"),
        (("--workdir=x", "--output=y", "--truncations="), "--truncations=: give numbers"),
        (("--workdir=x", "--output=y", "--truncations=-1"), "--truncations=-1: give numbers"),
    ],
)
def test_an_impossible_flag_is_an_error_in_one_line(flags, words):
    done = run(*flags)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and words in line


def test_help_shows_the_examples_without_waiting_for_jax():
    code = "import runpy, sys; sys.argv = ['export', '--help']\n"
    code += "try: runpy.run_module('biggan_jax.export', run_name='__main__', alter_sys=True)\n"
    code += "finally: assert not {'jax', 'flax', 'orbax'} & set(sys.modules)"
    done = run(program=("-c", code))
    assert done.returncode == 0 and "--workdir=runs/demo --output=exports/garments" in done.stdout
