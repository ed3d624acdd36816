"""Spectral normalisation (Miyato et al. 2018, section 2.1, algorithm 1) as a function of the parameter tree.

Each leaf called `kernel` is a weight. It is reshaped to a matrix W [inputs, outputs] and divided by an
estimate σ of its largest singular value, from one power iteration in each step on a vector u that training
keeps. Brock et al. 2019 normalise both networks (section 3). An update does this once for each network,
outside the layers: all forward passes and micro-batches share the normalised weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from biggan_jax.models.parameter_tree import Tree, flatten, unflatten

# The vectors decide the scale of each weight, so products of bfloat16, the default of TPUs, are too coarse.
PRECISION = jax.lax.Precision.HIGHEST


class SingularVectors(NamedTuple):
    """Estimates of the leading singular vectors of each weight, by the path of the weight.

    Attributes:
      left: The paper's v, f32[inputs].
      right: The paper's u, f32[outputs].
    """

    left: dict[str, jax.Array]
    right: dict[str, jax.Array]


def weights(params: Tree) -> dict[str, jax.Array]:
    """Returns the weights of a network as matrices [inputs, outputs], by path ("block_0/conv_1/kernel")."""
    leaves = flatten(params)
    return {p: w.reshape(-1, w.shape[-1]) for p, w in leaves.items() if p.split("/")[-1] == "kernel"}


def initial_vectors(params: Tree, key: jax.Array) -> dict[str, jax.Array]:
    """Samples a random u of unit length for each weight; training keeps u between steps."""
    matrices = sorted(weights(params).items())  # The order of the tree depends on how it was made.
    keys = jax.random.split(key, len(matrices))
    return {
        path: _unit(jax.random.normal(k, matrix.shape[-1:], matrix.dtype), 0.0)
        for (path, matrix), k in zip(matrices, keys, strict=True)
    }


def power_iteration(
    params: Tree, u: dict[str, jax.Array], epsilon: float, iterations: int = 1
) -> SingularVectors:
    """Refines u by power iteration: v ← Wu/|Wu|, u ← Wᵀv/|Wᵀv|.

    No gradient flows through the vectors.

    Args:
      params: Parameters of a network.
      u: Vectors of the step before, by the path of the weight.
      epsilon: Smallest length that a vector is divided by.
      iterations: Number of iterations.
    """
    left, right = {}, dict(u)
    for path, matrix in weights(jax.lax.stop_gradient(params)).items():
        for _ in range(iterations):
            left[path] = _unit(jnp.dot(matrix, right[path], precision=PRECISION), epsilon)
            right[path] = _unit(jnp.dot(left[path], matrix, precision=PRECISION), epsilon)
    return SingularVectors(left, right)


def sigmas(params: Tree, vectors: SingularVectors) -> dict[str, jax.Array]:
    """Returns the estimate σ = vᵀWu of each weight's largest singular value; its gradient is vuᵀ."""
    return {
        path: jnp.dot(
            jnp.dot(vectors.left[path], matrix, precision=PRECISION), vectors.right[path], precision=PRECISION
        )
        for path, matrix in weights(params).items()
    }


def normalize(params: Tree, vectors: SingularVectors, epsilon: float) -> Tree:
    """Divides each weight of a tree by its σ, or by `epsilon` if σ is smaller.

    The gradient flows through σ.
    """
    leaves = flatten(params)
    for path, sigma in sigmas(params, vectors).items():
        leaves[path] = leaves[path] / jnp.maximum(sigma, epsilon)
    return unflatten(leaves)


def _unit(vector: jax.Array, epsilon: float) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)
