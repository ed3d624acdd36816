"""The top three singular values of every weight, a sign of collapse (Brock et al. 2019, section 4).

Block power iteration, outside the step: 2,560 operations for each parameter, so 0.4 TFLOP for both networks
at 128 px and ch 96, where a step takes 5 TFLOP for every 16 images. No weight is copied: the iteration takes
25 MB beside those networks' 633 MB. Nothing is kept from one call to the next.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from biggan_jax.models.spectral_norm import PRECISION, Tree, weights

COUNT = 3
# A block much wider than COUNT: errors shrink by (σ_17/σ_3)² in each iteration, not by (σ_4/σ_3)². The
# largest error measured is 0.2 %, for singular values evenly between 0 and σ_1; on random matrices it is
# below 0.01 %.
BLOCK = 16
ITERATIONS = 40


def top_singular_values(params: Tree) -> dict[str, np.ndarray]:
    """Computes the three largest singular values of each weight, by float32 products of full precision.

    Args:
      params: float32 parameters of a network, or of several as `{"generator": …, "discriminator": …}`, on the
        host, or replicated over all devices of all processes: each process uses its own copy and waits for no
        other.

    Returns:
      f32[3] on the host in descending order, by the weight's path in the tree ("generator/linear/kernel"). A
      weight with fewer than three rows or columns has zeros in the remaining places. A weight that holds a
      number which is not finite has NaN.
    """
    # This process's first copy of replicated arrays: the other devices need not do the same work.
    params = jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, params)
    grams = jax.device_get(_grams(params))
    blocks = np.stack(list(grams.values())).astype(np.float64)
    # On the host, which takes no time for 16×16; accelerators take minutes to compile it.
    finite = np.asarray(np.isfinite(blocks).all(axis=(1, 2)))
    squares = np.linalg.eigvalsh(np.where(finite[:, None, None], blocks, 0.0))[:, : -COUNT - 1 : -1]
    values = np.where(finite[:, None], np.sqrt(np.maximum(squares, 0.0)), np.nan)
    return dict(zip(grams, values.astype(np.float32), strict=True))


def as_metrics(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the values as columns of a row: `singular_values/generator/linear/1` is the largest."""
    return {
        f"singular_values/{path.removesuffix('/kernel')}/{place}": float(value)
        for path, three in values.items()
        for place, value in enumerate(three, start=1)
    }


@jax.jit
def _grams(params: Tree) -> dict[str, jax.Array]:
    """Computes QᵀWᵀWQ for each weight W and its leading right singular vectors Q: f32[BLOCK, BLOCK], by path.

    W is the weight or its transpose, whichever is tall. The blocks Q of all weights lie in one array, padded
    with rows of zeros. This has the effect of columns of zeros in the weights, which changes no singular
    value, and leaves one factorisation to compile instead of dozens.
    """
    matrices = weights(params)
    rows = max(BLOCK, *(min(w.shape) for w in matrices.values()))

    def gram_times(w: jax.Array, q: jax.Array) -> jax.Array:
        """Computes WᵀWq for q of `rows` rows; rows beyond the columns of W are ignored."""
        columns = int(np.argmin(w.shape))  # the axis: no transposed copy of a weight is ever made
        q = q[: w.shape[columns]]
        for axis in (columns, 1 - columns):
            q = jnp.tensordot(w, q, axes=(axis, 0), precision=PRECISION)
        return jnp.pad(q, ((0, rows - q.shape[0]), (0, 0)))

    def iterate(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q, _ = carry
        product = jnp.stack([gram_times(w, q[i]) for i, w in enumerate(matrices.values())])
        gram = jnp.einsum("wrb,wrc->wbc", q, product, precision=PRECISION)
        return jnp.linalg.qr(product).Q, gram

    # A random start, which no weight is orthogonal to except by chance, and the same one at each call.
    start = np.random.default_rng(0).standard_normal((rows, BLOCK)).astype(np.float32)
    q = jnp.broadcast_to(start, (len(matrices), rows, BLOCK))
    _, grams = lax.fori_loop(0, ITERATIONS, iterate, (q, jnp.zeros((len(matrices), BLOCK, BLOCK))))
    return dict(zip(matrices, grams, strict=True))
