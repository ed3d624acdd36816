"""The worked examples of docs/contributing.md: each diff is applied to a copy of the package and used."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diffs import apply, diffs
from documented_commands import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text()
EXAMPLES = ("A loss", "A data source", "A score", "A conditioning")
TINY_RUN = """
import jax, numpy as np
from biggan_jax.config import validate
from configs.fashion_mnist import get_config

config = get_config()
config.batch_size, config.model.channels = 2, 1
config.model.resolution = 8
config.model.generator_channels = config.model.discriminator_channels = (4, 4)
config.model.latent_dim, config.model.class_embedding_dim = 4, 4
config.model.hierarchical_latents = False
"""


def copy_with(example: str, folder: Path) -> list[Path]:
    """Copies the package and the configs, and applies the example's diff; returns the changed files."""
    for name in ("biggan_jax", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    return apply(diffs(PAGE)[example], folder)


def in_copy(tmp_path: Path, example: str, script: str) -> str:
    """Runs a script with a copy of the package to which the example's diff is applied; returns its output."""
    copy_with(example, tmp_path)
    images = Path("biggan_jax", "data", "fashion_mnist")
    for file in (ROOT / images).glob("*.gz"):
        (tmp_path / images / file.name).symlink_to(file)
    return run("-c", script, folder=tmp_path)


def run(*arguments: str, folder: Path) -> str:
    """Runs Python in the folder, which comes first on its path."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    """The environment of the tests, with the folder in place of the installed package."""
    return os.environ | {"PYTHONPATH": str(folder), "BIGGAN_CACHE": str(folder / "cache"), "COLUMNS": "200"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_applies_and_passes_the_linter(example, tmp_path):
    changed = [str(path) for path in copy_with(example, tmp_path)]
    settings = ["--config", str(ROOT / "pyproject.toml")]
    run("-m", "ruff", "check", *settings, *changed, folder=tmp_path)
    run("-m", "ruff", "format", "--check", *settings, *changed, folder=tmp_path)


def test_page_has_no_other_example():
    assert tuple(diffs(PAGE)) == EXAMPLES


@pytest.mark.slow
def test_loss_of_the_page_makes_an_update_with_its_own_value(tmp_path):
    script = (
        TINY_RUN
        + """
from biggan_jax.training.step.state import create_state
from biggan_jax.training.step.update import make_update

from biggan_jax.training.step.losses import LOSSES

config.loss = "least_squares"
validate(config)
loss, real, fake = LOSSES["least_squares"], np.float32([1, 3]), np.float32([0, 2])
assert (loss.discriminator(real, fake), loss.generator(fake)) == (2.0, 0.5)
batch = {"images": np.zeros((1, 2, 8, 8, 3), np.uint8), "labels": np.array([[3, 7]], np.int32)}
state = create_state(config)
after, metrics = jax.jit(make_update(config, unroll=True))(state, batch)
moved = max(abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (state, after))) if a.dtype == np.float32)
print(float(metrics["d_loss"]), float(metrics["d_real"]), float(metrics["d_fake"]), float(moved))
"""
    )
    d_loss, d_real, d_fake, moved = map(float, in_copy(tmp_path, "A loss", script).split()[-4:])
    # By Jensen's inequality the mean of squares is at least the square of the mean.
    assert d_loss >= 0.5 * (d_real - 1) ** 2 + 0.5 * d_fake**2 - 1e-6
    assert np.isfinite(d_loss)
    assert moved > 0


@pytest.mark.slow
def test_source_of_the_page_gives_a_batch(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", arr_0=images, arr_1=np.arange(6) % 2)
    script = """
import numpy as np
from biggan_jax.data.catalogue import open_source
from biggan_jax.data.pipeline import batches

source = open_source("npz:set.npz", resolution=8, num_classes=2)
batch = next(batches(source, batch_size=6, d_steps=1, seed=0, random_flip=False))
np.savez("batch.npz", **batch)
"""
    in_copy(tmp_path, "A data source", script)
    batch = np.load(tmp_path / "batch.npz")
    order = [int(np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0]) for image in batch["images"][0]]
    assert sorted(order) == list(range(6)), "each image once in an epoch"
    assert batch["labels"][0].tolist() == [number % 2 for number in order]


@pytest.mark.slow
def test_score_of_the_page_stands_in_the_evaluation(tmp_path):
    samples = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", arr_0=samples, arr_1=np.arange(40, dtype=np.int32) % 10)
    (tmp_path / "means.py").write_text("def colours(images):\n    return images.mean(axis=(1, 2)) / 255.0\n")
    command = """
import runpy, sys
sys.argv = ["evaluate", "--samples=samples.npz", "--reference=fashion_mnist_10k", "--network=means:colours",
            "--reference_images=40", "--output=evaluated"]
runpy.run_module("biggan_jax.evaluate", run_name="__main__")
"""
    output = in_copy(tmp_path, "A score", command)
    scores = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())["scores"]
    (name,) = [name for name in scores if name.startswith("mean_distance@")]
    assert 0 < scores[name]["value"] <= scores[name.replace("mean_distance", "fid")]["value"] + 1e-9
    assert "first term of FID" in output


@pytest.mark.slow
def test_conditioning_of_the_page_reaches_the_images(tmp_path):
    script = (
        TINY_RUN
        + """
from biggan_jax.models.networks import make_generator

config.model.conditioning = "whole_latent"
validate(config)
generator = make_generator(config.model)
z, labels = jax.random.normal(jax.random.key(0), (2, 4)), np.array([3, 3])
variables = generator.init(jax.random.key(1), z, labels)
width = {name: block["norm_1"]["gain"]["kernel"].shape[0]
         for name, block in variables["params"].items() if name.startswith("block")}
images = [generator.apply(variables, z, y) for y in (labels, labels + 1)]
print(set(width.values()), bool((images[0] != images[1]).any()))
"""
    )
    assert in_copy(tmp_path, "A conditioning", script).split()[-2:] == ["{8}", "True"]


def test_diff_whose_code_has_changed_is_refused(tmp_path):
    (tmp_path / "file.py").write_text("a = 1\n")
    with pytest.raises(ValueError, match="0 times"):
        apply("--- a/file.py\n+++ b/file.py\n@@\n-a = 2\n+a = 3\n", tmp_path)
    apply("--- a/file.py\n+++ b/file.py\n@@\n-a = 1\n+a = 3\n", tmp_path)
    assert (tmp_path / "file.py").read_text() == "a = 3\n"
