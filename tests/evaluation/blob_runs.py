"""Runs on blobs that nobody trained: a config, a checkpoint of random weights, and the data source."""

import json

import jax
import numpy as np
from blobs import COLOURS, SIZE, make_blobs

from biggan_jax.config import config_to_json, default_config
from biggan_jax.data import ArraySource, DataError
from biggan_jax.data.fingerprint import fingerprint
from biggan_jax.training.run.checkpoints import Checkpoints
from biggan_jax.training.run.saved_run import IMAGES
from biggan_jax.training.step.state import abstract_state

STEP = 7
NAMES = ("red", "green", "blue")


def make_config(**fields):
    config = default_config()
    config.model.update(
        resolution=SIZE,
        channels=4,
        num_classes=len(COLOURS),
        latent_dim=8,
        class_embedding_dim=4,
        attention_resolution=0,
        hierarchical_latents=False,
        generator_channels=(1, 1, 1),
        discriminator_channels=(1, 1, 1),
    )
    config.data.update(source="blobs", random_flip=False)
    config.sampling.update(standing_passes=2, batch_size=16, samples_per_class=2)
    config.update_from_flattened_dict(fields)
    return config


def random_state(config):
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), abstract_state(config))


def write_run(workdir, config, step=STEP, scores=None, images=None):
    """Writes a checkpoint, with the fingerprint of the source `images` as that of its images."""
    (workdir / "config.json").write_text(json.dumps(config_to_json(config)))
    checkpoints = Checkpoints(workdir / "checkpoints", config)
    loop = {"unlogged": []}
    if images is not None:
        loop[IMAGES] = fingerprint(images, config.data.split).to_json()
    checkpoints.save(step, random_state(config), loop, scores)
    checkpoints.wait()
    checkpoints.close()


def open_blobs(name, split="train", *, resolution, num_classes=None, fewer_classes=False):
    """In place of `data.open_source`: a source of blobs with the splits train and test."""
    if split not in ("train", "test") or name != "blobs":
        raise DataError(f"{name} has no split {split!r}: set data.split to one of train, test")
    images, labels = make_blobs({"train": 300, "test": 150}[split], seed=1 + (split == "test"))
    if num_classes is not None and num_classes < len(COLOURS):
        raise DataError(f"blobs has labels 0 to 2, but model.num_classes = {num_classes}")
    return ArraySource(
        name=name,
        description=f"blobs; {split}: {len(images)}",
        num_examples=len(images),
        class_names=NAMES,
        resolution=resolution,
        images=images,
        labels=labels,
    )
