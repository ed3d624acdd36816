"""The top three singular values of every weight, which show a collapse coming (Brock et al. 2019, section 4).

Block power iteration, off the hot path: 2,560 operations a parameter, so 0.4 TFLOP for both networks of 128
px and ch 96, where a step has 5 for every 16 images. No weight is copied: beside those networks' 633 MB it
takes 25 MB. Nothing is kept from one call to the next.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from biggan_jax.models.spectral_norm import PRECISION, Tree, weights

COUNT = 3
# A block much wider than what is asked for: errors shrink by (σ_17/σ_3)² a turn, not by (σ_4/σ_3)². The worst
# found, where singular values lie evenly between 0 and σ_1, is 0.2 %; on random matrices it is below 0.01 %.
BLOCK = 16
TURNS = 40


def top_singular_values(params: Tree) -> dict[str, np.ndarray]:
    """The three largest singular values of each weight, from float32 products of full precision.

    Args:
      params: float32 parameters of a network, or of several as `{"generator": …, "discriminator": …}`, on the
        host, or whole on each device of every process: each process looks at its own copy and waits for none.

    Returns:
      f32[3] on the host in descending order, by the weight's path in the tree ("generator/linear/kernel"). A
      weight with fewer than three rows or columns has zeros for those that it lacks; one that holds a number
      which is not finite has NaN.
    """
    # Of replicated arrays this process's first copy: the other devices need not do the same work.
    params = jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, params)
    grams = jax.device_get(_grams(params))
    blocks = np.stack(list(grams.values())).astype(np.float64)
    # Here, because the host takes no time for 16×16 and accelerators minutes to compile it.
    known = np.isfinite(blocks).all(axis=(1, 2))
    squares = np.linalg.eigvalsh(np.where(known[:, None, None], blocks, 0.0))[:, : -COUNT - 1 : -1]
    values = np.where(known[:, None], np.sqrt(np.maximum(squares, 0.0)), np.nan)
    return dict(zip(grams, values.astype(np.float32), strict=True))


def as_metrics(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The same as columns of a row of metrics: `singular_values/generator/linear/1` is the largest."""
    return {
        f"singular_values/{path.removesuffix('/kernel')}/{place}": float(value)
        for path, three in values.items()
        for place, value in enumerate(three, start=1)
    }


@jax.jit
def _grams(params: Tree) -> dict[str, jax.Array]:
    """QᵀWᵀWQ of each weight W, for Q ≈ its leading right singular vectors: f32[BLOCK, BLOCK], by path.

    W stands for the weight or its transpose, whichever is tall. The blocks Q of all weights lie in one array,
    padded with rows of zeros. That is as if the weights had columns of zeros, which changes no singular
    value, and leaves one factorisation to compile, not dozens.
    """
    matrices = weights(params)
    rows = max(BLOCK, *(min(w.shape) for w in matrices.values()))

    def squared_times(w: jax.Array, q: jax.Array) -> jax.Array:
        """WᵀWq for q of `rows` rows, those beyond W's columns being of no account."""
        columns = int(np.argmin(w.shape))  # the axis: no transposed copy of a weight is ever made
        q = q[: w.shape[columns]]
        for axis in (columns, 1 - columns):
            q = jnp.tensordot(w, q, axes=(axis, 0), precision=PRECISION)
        return jnp.pad(q, ((0, rows - q.shape[0]), (0, 0)))

    def turn(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q, _ = carry
        product = jnp.stack([squared_times(w, q[i]) for i, w in enumerate(matrices.values())])
        gram = jnp.einsum("wrb,wrc->wbc", q, product, precision=PRECISION)
        return jnp.linalg.qr(product).Q, gram

    # Nothing that a weight is orthogonal to, but by chance; the same each time, for the same answer.
    start = np.random.default_rng(0).standard_normal((rows, BLOCK)).astype(np.float32)
    q = jnp.broadcast_to(start, (len(matrices), rows, BLOCK))
    _, grams = lax.fori_loop(0, TURNS, turn, (q, jnp.zeros((len(matrices), BLOCK, BLOCK))))
    return dict(zip(matrices, grams, strict=True))
