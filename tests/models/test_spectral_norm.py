"""Spectral norm against dense singular values, the analytic gradient, and a numpy replay; all in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models.spectral_norm import (
    SingularVectors,
    initial_vectors,
    normalize,
    power_iteration,
    sigmas,
    weights,
)

EPSILON = 1e-4
PATHS = ("block/conv/kernel", "linear/kernel")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def with_singular_values(inputs, outputs, values, seed):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (inputs, outputs))
    return left[:, : len(values)] * values @ right[: len(values)]


@pytest.fixture
def params():
    """A tall and a wide weight with known spectra, beside leaves that are no weights."""
    rng = np.random.default_rng(0)
    conv = with_singular_values(18, 5, [4.0, 2.0, 1.0, 0.5, 0.1], seed=1)
    return {
        "block": {"conv": {"kernel": conv.reshape(3, 3, 2, 5), "bias": rng.normal(size=5)}},
        "linear": {"kernel": with_singular_values(3, 7, [0.9, 0.4, 0.3], seed=2), "bias": rng.normal(size=7)},
        "class_embedding": {"embedding": rng.normal(size=(4, 6))},
        "norm": {"gain": rng.normal(size=6), "bias": rng.normal(size=6)},
        "attention": {"gamma": np.array(0.3)},
    }


@pytest.fixture
def u(params):
    return initial_vectors(params, jax.random.key(0))


def matrix(params, path):
    for name in path.split("/"):
        params = params[name]
    return np.asarray(params).reshape(-1, params.shape[-1])


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_weights_are_the_leaves_called_kernel_with_the_filters_in_columns(params):
    found = weights(params)
    assert set(found) == set(PATHS)
    assert found["block/conv/kernel"].shape == (18, 5)
    np.testing.assert_array_equal(
        found["block/conv/kernel"], params["block"]["conv"]["kernel"].reshape(18, 5)
    )


def test_initial_vectors_are_unit_long_one_for_each_output_and_different_by_weight_and_key(params, u):
    assert {path: vector.shape for path, vector in u.items()} == {PATHS[0]: (5,), PATHS[1]: (7,)}
    for vector in u.values():
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-12)
    same_shapes = {name: {"kernel": np.ones((4, 4))} for name in ("a", "b")}
    first, second = (initial_vectors(same_shapes, jax.random.key(seed)) for seed in (0, 1))
    assert not np.allclose(first["a/kernel"], first["b/kernel"])
    assert not np.allclose(first["a/kernel"], second["a/kernel"])


@pytest.mark.parametrize("steps", [1, 3])
def test_power_iteration_replays_in_numpy_from_the_vectors_it_kept(params, u, steps):
    vectors = power_iteration(params, u, EPSILON, iterations=steps)
    estimates = sigmas(params, vectors)
    for path in PATHS:
        w, right = matrix(params, path), np.asarray(u[path])
        for _ in range(steps):
            left = unit(w @ right)
            right = unit(w.T @ left)
        np.testing.assert_allclose(vectors.left[path], left, atol=1e-13)
        np.testing.assert_allclose(vectors.right[path], right, atol=1e-13)
        np.testing.assert_allclose(estimates[path], left @ w @ right, rtol=1e-13)


def test_sigma_is_the_largest_singular_value_after_many_steps_of_one_iteration(params, u):
    for _ in range(60):  # the error shrinks by (σ₂/σ₁)⁴ = 1/16 or more a step
        vectors = power_iteration(params, u, EPSILON)
        u = vectors.right
    for path in PATHS:
        dense = np.linalg.svd(matrix(params, path))
        np.testing.assert_allclose(sigmas(params, vectors)[path], dense.S[0], rtol=1e-12)
        np.testing.assert_allclose(abs(dense.Vh[0] @ vectors.right[path]), 1, rtol=1e-12)
        np.testing.assert_allclose(abs(dense.U[:, 0] @ vectors.left[path]), 1, rtol=1e-12)
        normalized = matrix(normalize(params, vectors, EPSILON), path)
        np.testing.assert_allclose(np.linalg.norm(normalized, 2), 1, rtol=1e-12)


def test_estimate_never_exceeds_the_largest_singular_value_and_grows_from_step_to_step(params, u):
    previous = dict.fromkeys(PATHS, 0.0)
    for _ in range(5):
        vectors = power_iteration(params, u, EPSILON)
        u, estimates = vectors.right, sigmas(params, vectors)
        for path in PATHS:
            assert previous[path] <= estimates[path] <= np.linalg.norm(matrix(params, path), 2) * (1 + 1e-12)
        previous = estimates


def test_gradient_flows_through_sigma_as_the_outer_product_of_the_vectors(params, u):
    vectors = power_iteration(params, u, EPSILON)
    cotangent = jax.tree.map(lambda x: np.random.default_rng(5).normal(size=np.shape(x)), params)
    _, pullback = jax.vjp(lambda params: normalize(params, vectors, EPSILON), params)
    (gradient,) = pullback(cotangent)
    for path in PATHS:
        w, c, left, right = (
            np.asarray(x)
            for x in (
                matrix(params, path),
                matrix(cotangent, path),
                vectors.left[path],
                vectors.right[path],
            )
        )
        sigma = left @ w @ right
        expected = c / sigma - np.sum(c * w) / sigma**2 * np.outer(left, right)
        np.testing.assert_allclose(matrix(gradient, path), expected, atol=1e-12)
    np.testing.assert_array_equal(
        gradient["class_embedding"]["embedding"], cotangent["class_embedding"]["embedding"]
    )


def test_no_gradient_flows_through_the_power_iteration(params, u):
    def moved(params):
        vectors = power_iteration(params, u, EPSILON)
        return sum(jnp.sum(vector) for part in vectors for vector in part.values())

    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(jax.grad(moved)(params)))


def test_only_weights_are_divided(params, u):
    normalized = normalize(params, power_iteration(params, u, EPSILON), EPSILON)
    assert jax.tree.structure(normalized) == jax.tree.structure(params)
    for name in ("class_embedding", "norm", "attention"):
        jax.tree.map(np.testing.assert_array_equal, normalized[name], params[name])
    np.testing.assert_array_equal(normalized["linear"]["bias"], params["linear"]["bias"])
    assert not np.allclose(normalized["linear"]["kernel"], params["linear"]["kernel"])


def test_sigma_below_epsilon_counts_as_epsilon():
    params = {"kernel": np.eye(3) * 1e-6}
    u = {"kernel": unit(np.ones(3))}
    normalized = normalize(params, power_iteration(params, u, EPSILON), EPSILON)
    np.testing.assert_allclose(normalized["kernel"], params["kernel"] / EPSILON, rtol=1e-12)


def test_zero_weights_give_no_nan_in_values_or_gradients(u):
    params = {"linear": {"kernel": np.zeros((3, 7))}}
    vectors = power_iteration(params, {"linear/kernel": u["linear/kernel"]}, EPSILON)
    normalized, pullback = jax.vjp(lambda params: normalize(params, vectors, EPSILON), params)
    (gradient,) = pullback(jax.tree.map(jnp.ones_like, normalized))
    for leaf in jax.tree.leaves((vectors, normalized, gradient)):
        assert np.isfinite(leaf).all()


def test_vectors_of_bfloat16_products_would_be_off_so_the_products_ask_for_full_precision(params, u):
    iteration = str(jax.make_jaxpr(lambda p, u: power_iteration(p, u, EPSILON))(params, u))
    estimate = str(jax.make_jaxpr(lambda p, v: sigmas(p, SingularVectors(*v)))(params, (u_left(params), u)))
    for program in (iteration, estimate):
        assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST") > 0


def u_left(params):
    return {path: np.ones(matrix(params, path).shape[0]) for path in PATHS}
