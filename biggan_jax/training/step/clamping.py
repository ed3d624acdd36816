"""Clamping of the largest singular value of G's first layer (Brock et al. 2019, section 4.1)."""

import jax
import jax.numpy as jnp

from biggan_jax.models.spectral_norm import PRECISION, Tree, power_iteration
from biggan_jax.training.step.state import NetworkState


def clamp_singular_value(
    matrix: jax.Array, left: jax.Array, right: jax.Array, limit: jax.Array | float
) -> jax.Array:
    """Computes W − max(0, σ₀ − limit) v₀u₀ᵀ, which clamps the largest singular value σ₀.

    It is meant for parameters as they are stored: after spectral norm the largest singular value is 1
    whatever they are.

    Args:
      matrix: W, [inputs, outputs].
      left: v₀, [inputs], of unit length, as in `spectral_norm.SingularVectors`.
      right: u₀, [outputs], of unit length.
      limit: A fixed value, or a ratio times the second singular value.

    Returns:
      The clamped matrix. The other singular values are unchanged. If the vectors are estimates, then the
      estimate v₀ᵀWu₀ of the largest singular value is at most `limit`.
    """
    sigma = jnp.dot(jnp.dot(left, matrix, precision=PRECISION), right, precision=PRECISION)
    return matrix - jax.nn.relu(sigma - limit) * jnp.outer(left, right)


def clamp_first_layer(generator: NetworkState, limit: float, epsilon: float) -> Tree:
    """Returns G's parameters with the first layer's largest singular value clamped to `limit`.

    Args:
      generator: G after its update.
      limit: Largest value allowed.
      epsilon: Smallest length that a vector of the power iteration is divided by.
    """
    first = {"linear": {"kernel": generator.params["linear"]["kernel"]}}
    vectors = power_iteration(first, {"linear/kernel": generator.u["linear/kernel"]}, epsilon)
    left, right = vectors.left["linear/kernel"], vectors.right["linear/kernel"]
    kernel = clamp_singular_value(first["linear"]["kernel"], left, right, limit)
    return generator.params | {"linear": generator.params["linear"] | {"kernel": kernel}}
