"""The batches of a run, as many steps of them as one call of the compiled program takes."""

from collections.abc import Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.data import Source, batches
from biggan_jax.training.monitoring.collapse import seed_after
from biggan_jax.training.run.position import Start
from biggan_jax.training.run.schedule import steps_of_call


def call_batches(config: ConfigDict, source: Source, start: Start) -> Iterator[dict[str, np.ndarray]]:
    """Yields this process's part of each call's batches, `[steps, d_steps, …]`.

    Args:
      config: The whole config.
      source: Images of the run.
      start: Position from which the run begins or resumes.
    """
    step = start.step
    stream = batches(
        source,
        batch_size=config.batch_size,
        d_steps=config.d_steps,
        seed=seed_after(config.seed, start.rollbacks),
        start_step=step,
        random_flip=config.data.random_flip,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    while step < config.total_steps:
        count = steps_of_call(config, step)
        parts = [next(stream) for _ in range(count)]
        yield {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        step += count
