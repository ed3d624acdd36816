"""Sheets of samples and of real images of a run."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.data import Source, batches
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import png, sheet
from biggan_jax.sampling.standing_statistics import prepare_generator
from biggan_jax.training.step.state import TrainState

MAX_BATCHES = 64  # of 256 real images, to find images of all classes shown


def samples_sheet(config: ConfigDict, state: TrainState, source: Source) -> bytes:
    """Draws samples of the averaged generator, one class a column, always of the same latents.

    Args:
      config: The whole config.
      state: State of the run.
      source: Images of the run, for the names of the classes.

    Returns:
      A PNG file.
    """
    classes, rows = shown_classes(config, source), config.sampling.samples_per_class
    params, u = jax.device_get((state.ema_params, state.generator.u))
    sampler = Sampler(prepare_generator(config, params, u), batch_size=config.sampling.batch_size)
    z = sampler.latents(rows, seed=config.seed)
    images = sampler.images(np.repeat(z, len(classes), axis=0), classes * rows)
    return _png(images.reshape(rows, len(classes), *images.shape[1:]), classes, source)


def real_sheet(config: ConfigDict, source: Source) -> bytes:
    """Draws real images in the columns of the samples' sheets.

    Places may stay white in the column of a class that is rare or comes late in the order.

    Args:
      config: The whole config.
      source: Images of the run.

    Returns:
      A PNG file.
    """
    classes, rows = shown_classes(config, source), config.sampling.samples_per_class
    size = config.model.resolution
    images = np.full((rows, len(classes), size, size, 3), 255, np.uint8)
    filled = dict.fromkeys(classes, 0)
    stream = batches(source, batch_size=256, d_steps=1, seed=config.seed, random_flip=False)
    for batch in itertools.islice(stream, MAX_BATCHES):
        for image, label in zip(batch["images"][0], batch["labels"][0].tolist(), strict=True):
            if filled.get(label, rows) < rows:
                images[filled[label], classes.index(label)] = image
                filled[label] += 1
        if min(filled.values()) == rows:
            break
    return _png(images, classes, source)


def shown_classes(config: ConfigDict, source: Source) -> list[int]:
    """Returns the labels of a sheet's columns: all labels, or `sampling.max_classes` evenly spread ones."""
    columns = min(source.num_classes, config.sampling.max_classes)
    return np.linspace(0, source.num_classes - 1, columns).astype(int).tolist()


def _png(images: np.ndarray, classes: Sequence[int], source: Source) -> bytes:
    return png(sheet(images, [source.class_names[label] for label in classes]))
