"""Penalties that are added to a loss, each off unless the config gives it a weight.

R1 (Mescheder et al. 2018; Brock et al. 2019, section 4.2) and R2 act on D's gradient at images, LeCam
regularisation (Tseng et al. 2021, arXiv 2104.03310) on D's logits, for small data sets, and orthogonal
regularisation (Brock et al. 2019, equation 3) on G's weights.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from biggan_jax.models.layers import at_least_float32
from biggan_jax.models.spectral_norm import Tree, weights


def gradient_penalty(logits_of: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Computes ½ E‖∇ₓD(x)‖², a scalar: R1 at real images, R2 at generated ones.

    The penalties of Mescheder et al. 2018 (equation 9) are (γ/2) E‖∇ₓD(x)‖². The ½ is included here, so the
    factor to multiply by is γ itself.

    Args:
      logits_of: D with its weights and labels given: a function of images to logits [N], each of which
        depends on its own image alone.
      images: Images as D sees them, [N, H, W, 3].

    Returns:
      The mean over these images, summed in float32 or wider; differentiable in the weights of `logits_of`.
    """
    # Logits depend on their own image only, so the gradient of their sum holds each one's own gradient.
    slopes = jax.grad(lambda x: logits_of(x).sum())(images)
    squares = jnp.square(slopes.astype(at_least_float32(slopes.dtype)))
    return 0.5 * squares.sum() / images.shape[0]


class LogitAverages(NamedTuple):
    """Moving averages of D's mean logits over global batches, for LeCam regularisation.

    Attributes:
      real: Average over real images, a float32 scalar.
      fake: Average over generated images, a float32 scalar.
    """

    real: jax.Array
    fake: jax.Array


def lecam_penalty(
    real_logits: jax.Array, fake_logits: jax.Array, real_average: jax.Array, fake_average: jax.Array
) -> jax.Array:
    """Computes E[max(0, D(x) − α_F)²] + E[max(0, α_R − D(G(z)))²], a scalar (Tseng et al. 2021).

    The paper writes E‖D(x) − α_F‖² + E‖D(G(z)) − α_R‖². The maxima come from the authors' released code,
    which this function follows. The two forms differ only for real images that D ranks below the average
    fake, and for fakes that D ranks above the average real image. The hinge loss pulls those back by itself.

    Args:
      real_logits: D(x), [N].
      fake_logits: D(G(z)), [N].
      real_average: α_R, the moving average of E[D(x)]; a constant here.
      fake_average: α_F, the moving average of E[D(G(z))]; a constant here.
    """
    real_average, fake_average = jax.lax.stop_gradient((real_average, fake_average))
    real_excess = jax.nn.relu(real_logits - fake_average)
    fake_excess = jax.nn.relu(real_average - fake_logits)
    return jnp.square(real_excess).mean() + jnp.square(fake_excess).mean()


def update_averages(
    averages: LogitAverages, real_mean: jax.Array, fake_mean: jax.Array, decay: jax.Array | float
) -> LogitAverages:
    """Moves the averages one step: α ← decay · α + (1 − decay) · mean.

    With a decay of 0 they are copies of the means. Use that until the penalty starts, so that the averages
    keep no trace of their initial values. The authors' code starts at step 1,000 and decays by 0.9 for BigGAN
    on CIFAR, and by 0.99 for StyleGAN2.

    Args:
      averages: Averages after the update before.
      real_mean: D's mean logit of the real images, over the global batch.
      fake_mean: D's mean logit of the generated images, over the global batch.
      decay: Decay in [0, 1); may be traced.
    """
    means = LogitAverages(real_mean, fake_mean)
    return cast(LogitAverages, optax.incremental_update(means, averages, 1 - decay))


def orthogonal_penalty(params: Tree) -> jax.Array:
    """Computes Σ ‖WᵀW ⊙ (1 − I)‖²_F over all weights W (Brock et al. 2019, equation 3).

    Filters are the columns of W. The penalty pushes their mutual inner products to 0 and leaves their norms
    free. Embeddings are not included.
    """
    return cast(jax.Array, sum(_off_diagonal_energy(matrix) for matrix in weights(params).values()))


def _off_diagonal_energy(matrix: jax.Array) -> jax.Array:
    """Computes ‖WᵀW ⊙ (1 − I)‖²_F for `matrix: [inputs, outputs]`."""
    inputs, outputs = matrix.shape
    if inputs >= outputs:
        gram = matrix.T @ matrix
        return jnp.sum(jnp.square(jnp.where(jnp.eye(outputs, dtype=bool), 0.0, gram)))
    # WWᵀ is smaller and has the same norm: for the first linear layer 20×20 in place of 24,576×24,576.
    gram = jnp.dot(matrix, matrix.T, precision=jax.lax.Precision.HIGHEST)
    norms = jnp.square(matrix).sum(axis=0)
    return jnp.sum(jnp.square(gram)) - jnp.sum(jnp.square(norms))
