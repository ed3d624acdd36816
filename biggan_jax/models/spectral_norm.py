"""Spectral normalisation (Miyato et al. 2018) as a function of the parameter tree.

Every leaf called `kernel` is a weight: reshaped to a matrix W of [inputs, outputs] it is divided by an
estimate σ of its largest singular value. The estimate comes from one power iteration a step on a vector u
that is kept from step to step. This is done once an update for each network, outside the layers, however
many forward passes or micro-batches then share the normalised weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util

Tree = dict  # nested dictionaries of parameters, as flax makes them
# The vectors decide the scale of every weight: never in the bfloat16 products that TPUs default to.
PRECISION = jax.lax.Precision.HIGHEST


class SingularVectors(NamedTuple):
    """Estimates of the leading singular vectors of each weight, by the weight's path in the tree."""

    left: dict[str, jax.Array]  # v: f32[inputs]
    right: dict[str, jax.Array]  # u: f32[outputs]


def weights(params: Tree) -> dict[str, jax.Array]:
    """The leaves that are weights, as matrices of [inputs, outputs], by path ("block_0/conv_1/kernel")."""
    leaves = traverse_util.flatten_dict(params, sep="/")
    return {p: w.reshape(-1, w.shape[-1]) for p, w in leaves.items() if p.split("/")[-1] == "kernel"}


def initial_vectors(params: Tree, key: jax.Array) -> dict[str, jax.Array]:
    """Random u of unit length for each weight: what training keeps between steps."""
    matrices = sorted(weights(params).items())  # the order of the tree is an accident of how it was made
    keys = jax.random.split(key, len(matrices))
    return {
        path: _unit(jax.random.normal(k, matrix.shape[-1:], matrix.dtype), 0.0)
        for (path, matrix), k in zip(matrices, keys, strict=True)
    }


def power_iteration(
    params: Tree, u: dict[str, jax.Array], epsilon: float, iterations: int = 1
) -> SingularVectors:
    """Refines u: v ← Wu/|Wu|, u ← Wᵀv/|Wᵀv|; lengths below `epsilon` count as `epsilon`.

    No gradient flows through the vectors.
    """
    left, right = {}, dict(u)
    for path, matrix in weights(jax.lax.stop_gradient(params)).items():
        for _ in range(iterations):
            left[path] = _unit(jnp.dot(matrix, right[path], precision=PRECISION), epsilon)
            right[path] = _unit(jnp.dot(left[path], matrix, precision=PRECISION), epsilon)
    return SingularVectors(left, right)


def sigmas(params: Tree, vectors: SingularVectors) -> dict[str, jax.Array]:
    """The estimate σ = vᵀWu of each weight's largest singular value; its gradient is vuᵀ."""
    return {
        path: jnp.dot(
            jnp.dot(vectors.left[path], matrix, precision=PRECISION), vectors.right[path], precision=PRECISION
        )
        for path, matrix in weights(params).items()
    }


def normalize(params: Tree, vectors: SingularVectors, epsilon: float) -> Tree:
    """The same tree with every weight divided by its σ, or by `epsilon` where σ is less.

    The gradient flows through σ.
    """
    leaves = traverse_util.flatten_dict(params, sep="/")
    for path, sigma in sigmas(params, vectors).items():
        leaves[path] = leaves[path] / jnp.maximum(sigma, epsilon)
    return traverse_util.unflatten_dict(leaves, sep="/")


def _unit(vector: jax.Array, epsilon: float) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)
