"""Remedies against collapse and overfitting, each off unless the config names it.

R1, dropout and clamping are those that Brock et al. 2019 try in section 4; LeCam regularisation (Tseng et al.
2021, arXiv 2104.03310) is for those who have little data.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from biggan_jax.models.layers import at_least_float32
from biggan_jax.models.spectral_norm import PRECISION


def r1_penalty(judge: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """R1 without its weight: ½ E‖∇ₓD(x)‖², a scalar (Mescheder et al. 2018, equation 9; Brock, section 4.2).

    The paper's penalty is (γ/2) E‖∇ₓD(x)‖²: the ½ is in here, so the weight to multiply by is γ itself.

    Args:
      judge: D with its weights and labels given: images to logits [N], each of its own image alone.
      images: real ones, [N, H, W, 3].

    Returns:
      The mean over these images, summed in float32 or wider; differentiable in the weights that `judge` uses.
    """
    # Logits depend on their own image only, so the gradient of their sum holds each one's own gradient.
    slopes = jax.grad(lambda x: judge(x).sum())(images)
    squares = jnp.square(slopes.astype(at_least_float32(slopes.dtype)))
    return 0.5 * squares.sum() / images.shape[0]


class LogitAverages(NamedTuple):
    """Moving averages of D's mean logits over whole batches: f32 scalars."""

    real: jax.Array
    fake: jax.Array


def lecam_penalty(
    real_logits: jax.Array, fake_logits: jax.Array, real_average: jax.Array, fake_average: jax.Array
) -> jax.Array:
    """E[max(0, D(x) − α_F)²] + E[max(0, α_R − D(G(z)))²], a scalar (Tseng et al. 2021).

    The paper writes E‖D(x) − α_F‖² + E‖D(G(z)) − α_R‖²; the maxima are in the authors' released code, and
    this follows the code. The forms differ for images on the far side alone, real ones that D takes for faker
    than the average fake and the reverse, which the hinge loss pulls back by itself.

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
    """One step of the moving averages α ← decay · α + (1 − decay) · mean.

    A decay of 0 makes them copies: give that until the penalty starts, so that they never remember where they
    began. The authors' code starts at step 1,000 and decays by 0.9 for BigGAN on CIFAR, 0.99 for StyleGAN2.

    Args:
      averages: those of the update before.
      real_mean: D's mean logit of the real images, over the whole batch of all replicas.
      fake_mean: the same of the generated ones.
      decay: in [0, 1), may be traced.
    """
    return optax.incremental_update(LogitAverages(real_mean, fake_mean), averages, 1 - decay)


def dropout_mask(keys: jax.Array, features: int, rate: float) -> jax.Array:
    """Factors for the features before D's last layer: dropout (Srivastava et al. 2014; Brock, section 4.2).

    Args:
      keys: typed JAX keys [N], one an image, which decides its factors alone.
      features: how many features an image has.
      rate: the chance that a feature is dropped.

    Returns:
      f32[N, features] of 0 and 1 / (1 − rate), with mean 1.

    Raises:
      ValueError: `rate` is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate = {rate}: give a chance of at least 0 and below 1; 0 drops nothing")
    chance = jnp.float32(1 - rate)
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, chance, (features,)))(keys)
    return kept / chance


def clamp_singular_value(
    matrix: jax.Array, left: jax.Array, right: jax.Array, limit: jax.Array | float
) -> jax.Array:
    """W − max(0, σ₀ − limit) v₀u₀ᵀ: the largest singular value clamped (Brock et al. 2019, section 4.1).

    For parameters as they are stored: after spectral norm the largest singular value is 1 whatever they are.

    Args:
      matrix: W, [inputs, outputs].
      left: v₀, [inputs], of unit length, as in `spectral_norm.SingularVectors`.
      right: u₀, [outputs], likewise.
      limit: a fixed value, or a ratio times the second singular value.

    Returns:
      The clamped matrix. The other singular values are as before. With estimates of the vectors, it is the
      estimate v₀ᵀWu₀ of the largest that is at most `limit`.
    """
    sigma = jnp.dot(jnp.dot(left, matrix, precision=PRECISION), right, precision=PRECISION)
    return matrix - jax.nn.relu(sigma - limit) * jnp.outer(left, right)
