"""Whether a state is finite: parameters, spectral norm's vectors, Adam's moments and the averages.

The losses of a step are those of the state before it, so they do not show an update that has gone wrong. The
check is a program of its own, called where a checkpoint is due: other steps pay nothing, and the step's
program and its rounding stay as they are.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from biggan_jax.training.step.state import TrainState


def not_finite(state: TrainState) -> str:
    """Returns the names of the parts of a state that hold infinities or NaN; empty if all are finite.

    Args:
      state: State on the devices. All processes of a run call this at the same steps, and get the same names.
    """
    parts = {
        "G's parameters": state.generator.params,
        "G's vectors of spectral norm": state.generator.u,
        "G's moments": state.generator.opt_state,
        "D's parameters": state.discriminator.params,
        "D's vectors of spectral norm": state.discriminator.u,
        "D's moments": state.discriminator.opt_state,
        "the average of G's parameters": state.ema_params,
        "the averages of D's logits": state.logit_averages,
    }
    broken = int(_broken(tuple(parts.values())))
    return ", ".join(name for number, name in enumerate(parts) if broken >> number & 1)


@jax.jit
def _broken(parts: tuple[Any, ...]) -> jax.Array:
    """Returns one scalar, u32, with a bit for each part that is not finite."""
    finite = [
        functools.reduce(
            jnp.logical_and, (jnp.isfinite(x).all() for x in jax.tree.leaves(part)), jnp.array(True)
        )
        for part in parts
    ]
    bits = 2 ** jnp.arange(len(finite), dtype=jnp.uint32)
    return jnp.where(jnp.stack(finite), 0, bits).sum()
