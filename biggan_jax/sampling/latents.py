"""Latents and labels, each a function of a key and its index alone: the number of devices changes nothing.

The distributions are from appendix E of Brock et al. 2019, truncation is from section 3.1.
"""

import jax
import jax.numpy as jnp

from biggan_jax.sampling.truncation import TruncationKind, refuse_impossible

SCALED_LIMIT = 2.0  # bound of the normal latents that a truncation of kind "scale" multiplies


def _normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(key, shape)


def _uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _bernoulli(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.bernoulli(key, shape=shape).astype(jnp.float32)


def _censored_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.maximum(_normal(key, shape), 0.0)


DISTRIBUTIONS = {
    "normal": _normal,  # N(0, I), the paper's default
    "uniform": _uniform,  # U[-1, 1]
    "bernoulli": _bernoulli,  # {0, 1} with equal chance
    "censored_normal": _censored_normal,  # max(N(0, I), 0)
}


def sample_latents(
    key: jax.Array,
    indices: jax.Array,
    latent_dim: int,
    distribution: str = "normal",
    truncation: float = 0.0,
    kind: TruncationKind = "threshold",
) -> jax.Array:
    """Samples latents by their indices in the sequence of a key.

    Args:
      key: Typed JAX key.
      indices: i32[N], positions in the global batch.
      latent_dim: Length of a latent.
      distribution: Name in `DISTRIBUTIONS`.
      truncation: Truncation of normal latents.
      kind: Meaning of `truncation`, see `sampling.truncation`.

    Returns:
      f32[N, latent_dim].

    Raises:
      ValueError: If the distribution is unknown, or a truncation is given for one that is not normal.
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"latent distribution {distribution!r}: choose one of {tuple(DISTRIBUTIONS)}")
    refuse_impossible(kind, truncation, distribution)
    if kind == "scale" and distribution == "normal":

        def sample(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return truncation * jax.random.truncated_normal(key, -SCALED_LIMIT, SCALED_LIMIT, shape)
    elif kind == "threshold" and truncation:

        def sample(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jax.random.truncated_normal(key, -truncation, truncation, shape)
    else:
        sample = DISTRIBUTIONS[distribution]
    return jax.vmap(lambda index: sample(jax.random.fold_in(key, index), (latent_dim,)))(indices)


def sample_labels(key: jax.Array, indices: jax.Array, num_classes: int) -> jax.Array:
    """Samples labels, uniform over the classes, by their indices in the sequence of a key: i32[N]."""
    return jax.vmap(lambda index: jax.random.randint(jax.random.fold_in(key, index), (), 0, num_classes))(
        indices
    )
