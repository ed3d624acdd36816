"""The compiled program of a run: one or several steps a call, on all replicas."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from ml_collections import ConfigDict

from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.gradients import scan
from biggan_jax.training.step.state import TrainState, abstract_state
from biggan_jax.training.step.update import Update


def make_call(update: Update, replicas: Replicas, unroll: bool = False) -> Callable[..., Any]:
    """Maps over replicas as many steps as one call's batches hold.

    Args:
      update: Step of one replica.
      replicas: Devices to run on.
      unroll: Whether to write the loop over the steps out, see `gradients.scan`.

    Returns:
      A function of the state and (batches `[replicas, steps, d_steps, …]`, stop signals `f32[replicas]`) to
      the next state and (the steps' metrics, `[steps]` each, the strongest stop signal of any process).
    """

    def call(state: TrainState, inputs: tuple[Any, jax.Array]) -> tuple[TrainState, tuple]:
        batches, signal = inputs
        state, metrics = scan(update, state, batches, unroll)
        return state, (metrics, lax.pmax(signal, AXIS))

    return replicas.map(call)


def abstract_arguments(config: ConfigDict, replicas: Replicas) -> tuple[TrainState, tuple[Any, Any]]:
    """Returns shape, type and placement of the arguments of one call; nothing is computed."""
    leading, size = (config.steps_per_call, config.d_steps, config.batch_size), config.model.resolution
    batches = {
        "images": jax.ShapeDtypeStruct((*leading, size, size, 3), np.uint8),
        "labels": jax.ShapeDtypeStruct(leading, np.int32),
    }
    return (
        replicas.abstract_state(abstract_state(config)),
        (replicas.abstract_batch(batches), replicas.abstract_scalar()),
    )
