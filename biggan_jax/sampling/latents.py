"""Latents, each a function of a key and its index alone, so the number of devices changes nothing.

The distributions are those of Brock et al. 2019, appendix E; truncation is section 3.1.
"""

import jax
import jax.numpy as jnp

from biggan_jax.sampling.truncation import TruncationKind, refuse_impossible

SCALED_LIMIT = 2.0  # where normal latents are cut off that truncation then scales


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
    """Draws the latents with the given indices in the sequence that `key` names.

    Args:
      key: a typed JAX key.
      indices: i32[N], positions in the global batch.
      latent_dim: length of a latent.
      distribution: a name in `DISTRIBUTIONS`.
      truncation: of normal latents.
      kind: what `truncation` means, see `sampling.truncation`.

    Returns:
      f32[N, latent_dim].

    Raises:
      ValueError: unknown distribution, or truncation of one that is not normal.
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"latent distribution {distribution!r}: choose one of {tuple(DISTRIBUTIONS)}")
    refuse_impossible(kind, truncation, distribution)
    if kind == "scale" and distribution == "normal":

        def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return truncation * jax.random.truncated_normal(key, -SCALED_LIMIT, SCALED_LIMIT, shape)
    elif kind == "threshold" and truncation:

        def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jax.random.truncated_normal(key, -truncation, truncation, shape)
    else:
        draw = DISTRIBUTIONS[distribution]
    return jax.vmap(lambda index: draw(jax.random.fold_in(key, index), (latent_dim,)))(indices)


def sample_labels(key: jax.Array, indices: jax.Array, num_classes: int) -> jax.Array:
    """Draws labels, uniform over the classes, with the given indices: i32[N]."""
    return jax.vmap(lambda index: jax.random.randint(jax.random.fold_in(key, index), (), 0, num_classes))(
        indices
    )
