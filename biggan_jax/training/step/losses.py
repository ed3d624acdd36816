"""The hinge loss and orthogonal regularisation."""

import jax
import jax.numpy as jnp

from biggan_jax.models.spectral_norm import Tree, weights


def discriminator_hinge(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))], a scalar (Miyato et al. 2018; Brock et al. 2019)."""
    return jax.nn.relu(1.0 - real_logits).mean() + jax.nn.relu(1.0 + fake_logits).mean()


def generator_hinge(fake_logits: jax.Array) -> jax.Array:
    """−E[D(G(z))], a scalar."""
    return -fake_logits.mean()


def orthogonal_penalty(params: Tree) -> jax.Array:
    """Σ ‖WᵀW ⊙ (1 − I)‖²_F over all weights W, the filters in columns (Brock et al. 2019, equation 3).

    The filters' mutual inner products are pushed to 0, their norms are left free. Embeddings are no weights.
    """
    return sum(_off_diagonal_energy(matrix) for matrix in weights(params).values())


def _off_diagonal_energy(matrix: jax.Array) -> jax.Array:
    """‖WᵀW ⊙ (1 − I)‖²_F for `matrix: [inputs, outputs]`."""
    inputs, outputs = matrix.shape
    if inputs >= outputs:
        gram = matrix.T @ matrix
        return jnp.sum(jnp.square(jnp.where(jnp.eye(outputs, dtype=bool), 0.0, gram)))
    # WWᵀ is smaller and has the same norm: for the first linear layer 20×20 in place of 24,576×24,576.
    gram = jnp.dot(matrix, matrix.T, precision=jax.lax.Precision.HIGHEST)
    norms = jnp.square(matrix).sum(axis=0)
    return jnp.sum(jnp.square(gram)) - jnp.sum(jnp.square(norms))
