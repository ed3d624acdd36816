"""The program that a run calls until its last step, on all replicas: one or several steps a call."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.gradients import scan
from biggan_jax.training.step.state import TrainState, abstract_state
from biggan_jax.training.step.update import Update


def make_call(update: Update, replicas: Replicas, unroll: bool = False) -> Callable[..., Any]:
    """Maps as many steps as its batches have over replicas.

    Args:
      update: the step of one replica.
      replicas: what it runs on.
      unroll: see `make_update`.

    Returns:
      A function of the state and (batches `[replicas, steps, d_steps, …]`, wishes `f32[replicas]`) to the
      next state and (the steps' metrics, `[steps]` each, the strongest wish of any process).
    """

    def call(state: TrainState, inputs: tuple[Any, jax.Array]) -> tuple[TrainState, tuple]:
        steps, wish = inputs
        state, numbers = scan(update, state, steps, unroll)
        return state, (numbers, lax.pmax(wish, AXIS))

    return replicas.map(call)


def abstract_arguments(config: Any, replicas: Replicas) -> tuple[TrainState, tuple[Any, Any]]:
    """What a call of `config.steps_per_call` steps takes, by shape, type and place; nothing is computed."""
    leading, size = (config.steps_per_call, config.d_steps, config.batch_size), config.model.resolution
    batches = {
        "images": jax.ShapeDtypeStruct((*leading, size, size, 3), np.uint8),
        "labels": jax.ShapeDtypeStruct(leading, np.int32),
    }
    return (
        replicas.abstract_state(abstract_state(config)),
        (replicas.abstract_batch(batches), replicas.abstract_scalar()),
    )
