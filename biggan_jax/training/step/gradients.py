"""Gradients accumulated over micro-batches and averaged over replicas."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from biggan_jax.models.spectral_norm import Tree

Metrics = dict[str, jax.Array]
# A function of the weights, the micro-batch's number and the micro-batch, to a scalar and its metrics.
LossFunction = Callable[..., tuple[jax.Array, Metrics]]


def mean_gradient(
    loss: LossFunction,
    weights: Tree,
    batch: Any,
    micro_batches: int = 1,
    axis_name: str | None = None,
    unroll: bool = False,
) -> tuple[Tree, Metrics]:
    """Computes gradient and metrics, averaged over micro-batches and replicas.

    The sum over micro-batches is float32 and takes the memory of one gradient, whatever their number.

    Args:
      loss: Function of the weights, the micro-batch's number and the micro-batch.
      weights: Weights to differentiate by.
      batch: Tree of arrays of this replica, `[B, …]` each.
      micro_batches: Number of equal parts that the batch is split into.
      axis_name: Replica axis; None for one replica that is mapped over nothing.
      unroll: See `scan`.
    """
    gradient = jax.grad(loss, has_aux=True)
    parts = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)
    parts = (jnp.arange(micro_batches), parts)
    first = jax.tree.map(lambda x: x[0], parts)
    if micro_batches == 1:
        mean = gradient(weights, *first)
    else:
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient, weights, *first))

        def add(total: Any, part: tuple) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient(weights, *part)), None

        total, _ = scan(add, zeros, parts, unroll)
        mean = jax.tree.map(lambda x: x / micro_batches, total)
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def scan(body: Callable, carry: Any, xs: Any, unroll: bool) -> tuple[Any, Any]:
    """Runs `lax.scan`, or writes its loop out.

    `unroll` is for CPUs: XLA does not run convolutions inside a loop on its fast path there, and the `unroll`
    of `lax.scan` leaves a loop of one iteration, which is as slow.
    """
    if not unroll:
        return lax.scan(body, carry, xs)
    outputs = []
    for index in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, output = body(carry, jax.tree.map(lambda x, i=index: x[i], xs))
        outputs.append(output)
    return carry, jax.tree.map(lambda *values: jnp.stack(values), *outputs)
