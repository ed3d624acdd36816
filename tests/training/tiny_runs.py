"""Runs of the loop that take a second: a tiny configuration on noise, and what they leave behind.

A test module that imports the fixture `noise_images` trains on noise.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.data import ArraySource
from biggan_jax.training.run import loop
from biggan_jax.training.run.checkpoints import Checkpoints
from biggan_jax.training.step.state import abstract_state

CLASSES = 5
RATES = {"steps_per_second", "images_per_second"}


@pytest.fixture(autouse=True)
def noise_images(monkeypatch):
    """See `put_noise`."""
    put_noise(monkeypatch)


def put_noise(monkeypatch):
    """The loop's source is 40 images of 8 px: six steps of 2 × 8 go through more than two epochs."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    source = ArraySource(
        name="noise",
        description="noise",
        num_examples=40,
        class_names=tuple(f"class {label}" for label in range(CLASSES)),
        resolution=8,
        images=images,
        labels=np.arange(40, dtype=np.int32) % CLASSES,
    )
    monkeypatch.setattr(loop, "open_source", lambda *args, **kwargs: source)


def make_config(**fields):
    config = default_config()
    config.update(batch_size=8, total_steps=6, log_every=2, sample_every=4, checkpoint_every=0)
    config.model.update(
        resolution=8,
        channels=4,
        generator_channels=(1, 1),
        discriminator_channels=(1, 1),
        num_classes=CLASSES,
        latent_dim=4,
        class_embedding_dim=4,
        attention_resolution=0,
    )
    config.ema.update(decay=0.9, start_step=2)
    config.sampling.update(standing_passes=2, batch_size=10, samples_per_class=2, max_classes=3)
    config.data.source = "noise"
    config.update_from_flattened_dict(fields)
    return config


def rows(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def untimed(found: list[dict]) -> list[dict]:
    return [{name: row[name] for name in row.keys() - RATES} for row in found]


def saved(workdir: Path, config):
    return Checkpoints(workdir / "checkpoints", config, read_only=True).restore_latest(abstract_state(config))


def assert_same_state(left, right):
    for (path, a), b in zip(jax.tree.leaves_with_path(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
