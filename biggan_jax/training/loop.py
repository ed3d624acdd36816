"""The loop: takes a run up where its workdir left it, and brings it to its last step.

    workdir/config.json             the config in use
            metrics.jsonl           a row every `log_every` steps and at the last (see metrics.py)
            tensorboard/            the same
            samples/real.png        real images, a class a column, to compare with
            samples/00001000.png    samples every `sample_every` steps and at the last, of the same latents
            checkpoints/00001000/   the state every `checkpoint_every` steps, at the last, on interruption

An interval of 0 means never: no samples at all, no checkpoints but the last. A run that is stopped and
started again ends with the weights and metrics, bit for bit, of one that never stopped.
"""

import collections
import itertools
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.config import validate
from biggan_jax.data import Source, batches, open_source
from biggan_jax.sampling.sampler import Sampler, fixed_latents
from biggan_jax.sampling.sheets import png, sheet
from biggan_jax.training.checkpoints import Checkpoints, Restored
from biggan_jax.training.interruption import Interruption
from biggan_jax.training.metrics import Metrics, Stopwatch, mean
from biggan_jax.training.progress import Progress
from biggan_jax.training.replicas import AXIS, Replicas
from biggan_jax.training.state import TrainState, abstract_state, create_state
from biggan_jax.training.update import make_update
from biggan_jax.training.workdir import config_to_json, differences, write_whole

STEPS_IN_FLIGHT = 2  # dispatched and not yet done: the device never idles, and the host never runs away
MOST_BATCHES_LOOKED_AT = 64  # of 256 real images, for the sheet of real ones


def train(config: ConfigDict, workdir: str | os.PathLike) -> int:
    """Trains until `config.total_steps`, or until SIGINT or SIGTERM, when it saves its state.

    Returns:
      The process's exit code: 0 if the run is finished, else `Interruption.exit_code`.

    Raises:
      UserError: the config is impossible, the data is missing, the workdir cannot be written or holds a run
        of another architecture.
    """
    validate(config, replicas=jax.device_count())
    workdir = Path(workdir).absolute()
    with Interruption() as interruption:
        data = config.data
        source = open_source(
            data.source,
            split=data.split,
            resolution=config.model.resolution,
            num_classes=config.model.num_classes,
        )
        checkpoints = Checkpoints(workdir / "checkpoints", config)
        restored = checkpoints.restore_latest(abstract_state(config))
        start = restored.step if restored else 0
        if start >= config.total_steps:
            print(f"already finished: {workdir} is at step {start}; to go on, raise total_steps")
            return 0
        write_whole(workdir / "config.json", json.dumps(config_to_json(config), indent=2).encode())
        draw_real_images(config, source, workdir / "samples" / "real.png")

        replicas = Replicas(config.replicas.mapping)
        on_cpu = replicas.devices[0].platform == "cpu"
        step_function = replicas.map(make_update(config, AXIS, unroll=on_cpu))
        state = replicas.put_state(restored.state if restored else create_state(config))
        order = {"batch_size": config.batch_size, "d_steps": config.d_steps, "seed": config.seed}
        stream = batches(source, **order, start_step=start, random_flip=data.random_flip)

        for line in _announcement(config, source, replicas, restored):
            print(line, flush=True)
        images_per_step = config.batch_size * config.d_steps
        unlogged = restored.loop["unlogged"] if restored else []  # metrics of the steps since the last row
        in_flight: collections.deque[Any] = collections.deque()
        stopwatch = Stopwatch()
        metrics = Metrics(workdir, start)
        progress = Progress(config.total_steps, start, images_per_step)

        try:
            interruption.stepping = True
            for step, batch in zip(range(start + 1, config.total_steps + 1), stream, strict=False):
                finished = step == config.total_steps
                logging = finished or step % config.log_every == 0
                drawing = config.sample_every and (finished or step % config.sample_every == 0)
                saving = finished or (config.checkpoint_every and step % config.checkpoint_every == 0)

                state, numbers = step_function(state, replicas.put_batch(batch))
                unlogged.append(numbers)
                in_flight.append(numbers)
                wait = replicas.must_wait or logging or drawing or saving or step == start + 1
                while len(in_flight) > (0 if wait else STEPS_IN_FLIGHT):
                    jax.block_until_ready(in_flight.popleft())
                stopwatch.step()
                stopping = interruption.requested

                row = None
                if logging:
                    row, rate = mean(jax.device_get(unlogged)), stopwatch.lap()
                    row |= {"steps_per_second": rate, "images_per_second": rate and rate * images_per_step}
                    metrics.write(step, row)
                    unlogged = []
                progress.update(step, row)
                if drawing:
                    with stopwatch.paused():
                        draw_samples(config, state, source, workdir / "samples" / f"{step:08d}.png")
                if saving or stopping:
                    with stopwatch.paused():
                        values = [mean([numbers]) for numbers in jax.device_get(unlogged)]
                        checkpoints.save(step, state, {"unlogged": values})
                if stopping:
                    break
            checkpoints.wait()
        finally:
            progress.close()
            metrics.close()
        checkpoints.close()

        if finished:
            print(f"finished: step {step}; the run is in {workdir}")
            return 0
        print(f"saved at step {step} of {config.total_steps}; to go on:\n  {shlex.join(sys.orig_argv)}")
        return interruption.exit_code


def draw_samples(config: ConfigDict, state: TrainState, source: Source, path: Path) -> None:
    """Writes a sheet of the averaged generator's samples, a class a column, of the same latents each time."""
    classes, rows = shown_classes(config, source), config.sampling.samples_per_class
    z, labels = fixed_latents(config, rows, classes, config.seed)
    # From the host to one device: a sheet is not worth every replica's time.
    params, u = jax.device_get((state.ema_params, state.generator.u))
    images = Sampler(config, params, u).images(z, labels)
    _write_sheet(images.reshape(rows, len(classes), *images.shape[1:]), classes, source, path)


def draw_real_images(config: ConfigDict, source: Source, path: Path) -> None:
    """Writes a sheet of real images in the columns of the samples' sheets, if it is not there yet.

    Of a class that is rare, or comes late in the order, some places may stay white.
    """
    if path.exists():
        return
    classes, rows = shown_classes(config, source), config.sampling.samples_per_class
    size = config.model.resolution
    images = np.full((rows, len(classes), size, size, 3), 255, np.uint8)
    filled = dict.fromkeys(classes, 0)
    stream = batches(source, batch_size=256, d_steps=1, seed=config.seed, random_flip=False)
    for batch in itertools.islice(stream, MOST_BATCHES_LOOKED_AT):
        for image, label in zip(batch["images"][0], batch["labels"][0].tolist(), strict=True):
            if filled.get(label, rows) < rows:
                images[filled[label], classes.index(label)] = image
                filled[label] += 1
        if min(filled.values()) == rows:
            break
    _write_sheet(images, classes, source, path)


def shown_classes(config: ConfigDict, source: Source) -> list[int]:
    """The labels of a sheet's columns: all of them, or `sampling.max_classes` spread evenly over them."""
    columns = min(source.num_classes, config.sampling.max_classes)
    return np.linspace(0, source.num_classes - 1, columns).astype(int).tolist()


def _write_sheet(images: np.ndarray, classes: list[int], source: Source, path: Path) -> None:
    write_whole(path, png(sheet(images, [source.class_names[label] for label in classes])))


def _announcement(
    config: ConfigDict, source: Source, replicas: Replicas, restored: Restored | None
) -> Iterator[str]:
    devices = f"{replicas.count} × {replicas.devices[0].device_kind}"
    yield f"{source.description}; batches of {config.batch_size} on {devices}"
    if restored:
        yield f"resuming at step {restored.step}"
        for field, values in differences(restored.config, config_to_json(config)).items():
            yield f"  changed since then: {field} {values}"
