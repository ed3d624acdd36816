"""The command: from a run's workdir or a file to the tables, evaluation.json, pictures and report.html."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from compiling import xla_flags
from pages import Page, assert_needs_no_other_file
from PIL import Image

from biggan_jax.config import config_to_json, default_config
from biggan_jax.training.run.checkpoints import Checkpoints
from biggan_jax.training.step.state import abstract_state

REPOSITORY = Path(__file__).parents[1]

# The command with a classifier that learns for a moment.
QUICK = """
import functools, runpy, sys
from biggan_jax.evaluation.networks import classifier
from biggan_jax.evaluation import evaluator
quick = dict(widths=(4, 8, 16), images_seen=4_000)
evaluator.ClassifierSettings = functools.partial(classifier.ClassifierSettings, **quick)
runpy.run_module("biggan_jax.evaluate", run_name="__main__", alter_sys=True)
"""


def run(*arguments, program=("-m", "biggan_jax.evaluate")):
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "110", "XLA_FLAGS": xla_flags(devices=1)},
        timeout=300,
    )


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """An empty cache, which holds no classifier yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of a tiny generator on Fashion-MNIST, at step 30."""
    config = default_config()
    config.model.update(
        resolution=32,
        channels=4,
        num_classes=10,
        latent_dim=8,
        class_embedding_dim=4,
        attention_resolution=0,
        hierarchical_latents=False,
        generator_channels=(2, 1, 1, 1),
        discriminator_channels=(1, 1, 1, 1),
    )
    config.data.update(source="fashion_mnist_10k", random_flip=False)
    config.sampling.update(standing_passes=2, batch_size=20, samples_per_class=3)
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text(json.dumps(config_to_json(config)))
    checkpoints = Checkpoints(folder / "checkpoints", config)
    random = np.random.default_rng(0)
    state = jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), abstract_state(config))
    checkpoints.save(30, state, {"unlogged": []})
    checkpoints.wait()
    checkpoints.close()
    return folder


@pytest.mark.slow
def test_a_run_is_evaluated_from_its_workdir_alone(workdir):
    arguments = (f"--workdir={workdir}", "--num_samples=40", "--truncation=0.8", "--truncations=0.5,0")
    done = run(*arguments, program=("-c", QUICK))
    assert done.returncode == 0, done.stderr
    report = json.loads((workdir / "evaluation.json").read_text())
    assert report["step"] == 30 and report["num_samples"] == 40 and report["truncation"] == 0.8
    assert report["classifier"]["test_images"] == 2_000 and report["classifier"]["test_accuracy"] > 0.5
    assert [point["truncation"] for point in report["truncations"]] == [0.5, 0]
    assert "training the classifier on 8,000 real images" in done.stdout
    shown = ("Ankle boot", "step 30", "truncation 0.8", report["classifier"]["hash"], "fid@classifier")
    files = ("report.html", "evaluation.png", "nearest.png", "truncations.png")
    for word in (*shown, "5. Memorised training images", *files):
        assert word in done.stdout, word
    content = (workdir / "report.html").read_text()
    assert_needs_no_other_file(content)
    page = Page(content)
    assert "Ankle boot" in page.texts("td") and len(page.images()) == 2 and len(page.all("svg")) == 1
    for section in report["beyond_is"]:
        assert " ".join(section["sentence"].split()) in page.texts("p")
    with Image.open(workdir / "evaluation.png") as page:
        assert page.width > 10 * 96 and page.height > 3 * 96
    with Image.open(workdir / "nearest.png") as page:
        assert page.width > 10 * 96 and 2 * 96 < page.height < 4 * 96

    again = run(*arguments, program=("-c", QUICK))
    assert again.returncode == 0, again.stderr
    assert "training the classifier" not in again.stdout
    assert json.loads((workdir / "evaluation.json").read_text()) == report


@pytest.mark.slow
def test_samples_of_a_file_are_evaluated_beside_it_by_a_users_function(tmp_path):
    (tmp_path / "mine.py").write_text("def means(images):\n    return images.mean(axis=(1, 2))\n")
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "drawn.npz", images, np.arange(40) % 10)
    arguments = (f"--samples={tmp_path}/drawn.npz", "--reference=fashion_mnist_10k", "--network=mine:means")
    done = run(*arguments, program=("-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{QUICK}"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "drawn" / "evaluation.json").read_text())
    assert report["scores"]["fid@mine:means"]["value"] > 1_000
    assert report["file"] == f"{tmp_path}/drawn.npz" and len(report["classes"]) == 10
    assert "mine:means has no logits, so IS cannot be computed" in done.stdout
    page = Page((tmp_path / "drawn" / "report.html").read_text())
    assert "mine:means has no logits, so IS cannot be computed." in page.texts("p", "note")
    assert page.texts("h1") == [f"Evaluation of {tmp_path}/drawn.npz"]


def test_a_folder_without_a_run_is_an_error_in_one_line(tmp_path):
    done = run(f"--workdir={tmp_path}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --workdir=") and "no run here" in line


@pytest.mark.slow
def test_a_step_without_a_checkpoint_is_an_error_that_lists_those_there_are(workdir):
    done = run(f"--workdir={workdir}", "--step=20")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --step=20: ") and line.endswith("are of the steps 30")


@pytest.mark.parametrize("flags", [(), ("--workdir=a", "--samples=b.npz")])
def test_neither_or_both_of_run_and_file_is_an_error(flags):
    done = run(*flags)
    assert done.returncode == 2
    assert done.stderr == (
        "error: give one of --workdir=DIR (a run), --weights=EXPORT and --samples=FILE.npz\n"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--samples=b.npz", "--best"), "--best: only a run"),
        (("--weights=b", "--step=3"), "--step=3: only a run"),
        (("--workdir=a", "--best", "--step=3"), "--best and --step=3: give one"),
    ],
)
def test_checkpoints_are_asked_for_of_runs_alone_and_of_one(flags, words):
    done = run(*flags)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {words}")


@pytest.mark.slow
def test_inceptions_weights_that_are_missing_are_an_error_that_says_where_they_are(workdir):
    done = run(f"--workdir={workdir}", f"--network=inception:{workdir}/nowhere.pth")
    assert done.returncode == 2
    assert "nowhere.pth" in done.stderr and "https://" in done.stderr and "'classifier'" in done.stderr


@pytest.mark.parametrize(
    "flag",
    [
        "--num_samples=0",
        "--truncation=-1",
        "--seed=x",
        "--nim_samples=10",
        "--truncations=0.5,x",
        "--step=-1",
    ],
)
def test_an_impossible_flag_is_an_error_that_names_it(flag, tmp_path):
    done = run(f"--workdir={tmp_path}", flag)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and flag.strip("-").split("=")[0] in done.stderr


def test_help_shows_the_examples():
    done = run("--help")
    assert done.returncode == 0
    assert "--samples=samples.npz --reference=fashion_mnist_10k" in done.stdout
