"""Clamping of the largest singular value against numpy's decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models.spectral_norm import power_iteration
from biggan_jax.training.step.clamping import clamp_singular_value


@pytest.mark.parametrize("shape", [(3, 7), (7, 3)])
def test_clamping_sets_the_largest_singular_value_to_the_limit_and_keeps_the_others(shape, float64, rng):
    matrix = rng.normal(size=shape)
    left, values, right = np.linalg.svd(matrix)
    limit = (values[0] + values[1]) / 2
    clamped = np.asarray(clamp_singular_value(matrix, left[:, 0], right[0], limit))
    np.testing.assert_allclose(np.linalg.svd(clamped)[1], [limit, *values[1:]], rtol=1e-10)
    np.testing.assert_allclose(clamped @ right[0], limit * left[:, 0], atol=1e-10)  # the same directions


def test_clamping_below_the_second_singular_value_clamps_the_first_alone(float64, rng):
    matrix = rng.normal(size=(3, 4))
    left, values, right = np.linalg.svd(matrix)
    clamped = clamp_singular_value(matrix, left[:, 0], right[0], 0.1 * values[2])
    np.testing.assert_allclose(np.linalg.svd(clamped)[1], [*values[1:], 0.1 * values[2]], rtol=1e-9)


def test_clamping_leaves_a_matrix_under_the_limit_as_it_is(rng):
    matrix = rng.normal(size=(3, 4)).astype(np.float32)
    left, values, right = np.linalg.svd(matrix)
    clamped = clamp_singular_value(matrix, left[:, 0], right[0], 1.01 * values[0])
    np.testing.assert_array_equal(clamped, matrix)


def test_clamping_takes_the_vectors_of_power_iteration_and_bounds_their_estimate_at_once(float64, rng):
    matrix, u = rng.normal(size=(6, 4)), rng.normal(size=4)
    for iterations in (1, 200):
        vectors = power_iteration({"kernel": matrix}, {"kernel": u}, 1e-12, iterations)
        left, right = vectors.left["kernel"], vectors.right["kernel"]
        clamped = clamp_singular_value(matrix, left, right, 0.5)
        np.testing.assert_allclose(left @ clamped @ right, 0.5, rtol=1e-12)
    values = np.linalg.svd(matrix)[1]
    np.testing.assert_allclose(np.linalg.svd(clamped)[1], [*values[1:], 0.5], rtol=1e-9)


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_the_gradient_through_clamping_is_that_of_finite_differences(limit, float64, rng):
    matrix, weights, direction = rng.normal(size=(3, 5, 4))
    left, _, right = np.linalg.svd(matrix)

    def loss(matrix):
        return jnp.sum(weights * jnp.sin(clamp_singular_value(matrix, left[:, 0], right[0], limit)))

    slope = jnp.sum(jax.grad(loss)(matrix) * direction)
    difference = (loss(matrix + 1e-5 * direction) - loss(matrix - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-7)
