"""A dry run: shows the images that a run would read, and measures how fast (`train --dry_run`)."""

import os

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from biggan_jax.config import validate
from biggan_jax.data import Source, open_source
from biggan_jax.data.preview import measure_throughput, preview
from biggan_jax.runtime.files import resolve_directory, write_file
from biggan_jax.sampling.sheets import png, sheet

COLUMNS = 8
CLASSES_NAMED = 20


def dry_run(config: ConfigDict, workdir: str | os.PathLike) -> int:
    """Describes the data of a run, writes 64 of its images to a file, and measures the input pipeline.

    The file is `workdir/dry_run.png`; a run may use the same workdir afterwards. Only the first process does
    all this.

    Args:
      config: The whole config.
      workdir: Directory of the run.

    Returns:
      The process's exit code, 0.

    Raises:
      UserError: The config is impossible, or the data is missing or damaged.
    """
    validate(config, replicas=jax.device_count())
    if jax.process_index():
        return 0
    directory, data = resolve_directory(workdir), config.data
    source = open_source(
        data.source,
        split=data.split,
        resolution=config.model.resolution,
        num_classes=config.model.num_classes,
        max_refused=data.max_refused,
    )
    names = ", ".join(source.class_names[:CLASSES_NAMED])
    more = source.num_classes - CLASSES_NAMED
    images_per_step = config.batch_size * config.d_steps
    print(source.description)
    print(f"{source.num_examples:,} images, {source.num_classes:,} classes: {names}", end="")
    print(f", … and {more:,} more" if more > 0 else "")
    print(
        f"a step reads {config.d_steps} batches of {config.batch_size:,}; {config.total_steps:,} steps, "
        f"{config.total_steps * images_per_step / source.num_examples:,.1f} epochs"
    )
    images, labels = preview(source, seed=config.seed, random_flip=data.random_flip)
    write_file(directory / "dry_run.png", png(image_grid(images, labels, source)))
    print(f"the first {len(images)} images, as the networks get them: {directory / 'dry_run.png'}")
    throughput = measure_throughput(
        source,
        batch_size=config.batch_size,
        d_steps=config.d_steps,
        seed=config.seed,
        random_flip=data.random_flip,
    )
    rate, cores = throughput.images_per_second, throughput.cores_busy
    print(
        f"this machine reads {rate:,.0f} images/s while it does nothing else ({cores:.1f} cores busy): "
        f"{rate / images_per_step:.3g} steps/s at most"
    )
    return 0


def image_grid(images: np.ndarray, labels: np.ndarray, source: Source) -> Image.Image:
    """Draws images in rows of eight, each below the name of its class.

    Args:
      images: u8[N, H, W, 3]; N is a multiple of eight.
      labels: i32[N].
      source: Data source, for the names of the classes.
    """
    strips = [
        sheet(images[None, i : i + COLUMNS], [source.class_names[label] for label in labels[i : i + COLUMNS]])
        for i in range(0, len(images), COLUMNS)
    ]
    grid = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        grid.paste(strip, (0, top))
        top += strip.height
    return grid
