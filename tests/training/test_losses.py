"""Hinge losses and the orthogonal penalty against their formulas, in float64."""

import jax
import numpy as np
import pytest

from biggan_jax.training.step.losses import discriminator_hinge, generator_hinge, orthogonal_penalty


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_discriminator_hinge_is_zero_beyond_the_margins_and_linear_within():
    real, fake = np.array([2.0, 1.0, 0.5, -1.0]), np.array([-3.0, -1.0, 0.0, 2.0])
    assert discriminator_hinge(real, fake) == (0 + 0 + 0.5 + 2) / 4 + (0 + 0 + 1 + 3) / 4


def test_discriminator_hinge_pulls_only_on_logits_within_the_margins():
    real, fake = np.array([2.0, 0.5, -1.0]), np.array([-3.0, 0.0, 2.0])
    real_slope, fake_slope = jax.grad(discriminator_hinge, argnums=(0, 1))(real, fake)
    np.testing.assert_allclose(real_slope, np.array([0, -1, -1]) / 3)
    np.testing.assert_allclose(fake_slope, np.array([0, 1, 1]) / 3)


def test_generator_hinge_is_minus_the_mean_logit_without_a_margin():
    fake = np.array([-3.0, 0.0, 5.0])
    np.testing.assert_allclose(generator_hinge(fake), -2 / 3)
    np.testing.assert_allclose(jax.grad(generator_hinge)(fake), -np.ones(3) / 3)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (5, 5), (3, 3, 2, 7), (1, 1, 3, 8)])
def test_orthogonal_penalty_and_its_gradient_equal_the_dense_formula(shape):
    kernel = np.random.default_rng(0).normal(size=shape)
    w = kernel.reshape(-1, shape[-1])
    off_diagonal = w.T @ w * (1 - np.eye(shape[-1]))
    value, gradient = jax.value_and_grad(orthogonal_penalty)({"kernel": kernel})
    np.testing.assert_allclose(value, np.linalg.norm(off_diagonal) ** 2, rtol=1e-12)
    np.testing.assert_allclose(
        gradient["kernel"].reshape(w.shape), 4 * w @ off_diagonal, rtol=1e-10, atol=1e-10
    )


def test_orthogonal_penalty_leaves_the_filters_norms_free():
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))[0]
    scaled = {"kernel": q * np.array([0.1, 1.0, 5.0, 30.0])}
    value, gradient = jax.value_and_grad(orthogonal_penalty)(scaled)
    np.testing.assert_allclose(value, 0, atol=1e-20)
    np.testing.assert_allclose(gradient["kernel"], 0, atol=1e-10)


def test_orthogonal_penalty_sums_over_weights_and_spares_embeddings_gains_and_biases():
    rng = np.random.default_rng(0)
    params = {
        "block": {"conv": {"kernel": rng.normal(size=(3, 3, 2, 4)), "bias": rng.normal(size=4)}},
        "linear": {"kernel": rng.normal(size=(3, 5))},
        "class_embedding": {"embedding": rng.normal(size=(7, 5))},
        "norm": {"gain": rng.normal(size=4)},
    }
    parts = [
        orthogonal_penalty({"kernel": layer["kernel"]})
        for layer in (params["block"]["conv"], params["linear"])
    ]
    value, gradient = jax.value_and_grad(orthogonal_penalty)(params)
    np.testing.assert_allclose(value, sum(parts), rtol=1e-12)
    for leaf in (
        gradient["class_embedding"]["embedding"],
        gradient["norm"]["gain"],
        gradient["block"]["conv"]["bias"],
    ):
        assert (leaf == 0).all()


def test_orthogonal_penalty_of_a_wide_weight_is_exact_in_float32():
    # The wide form subtracts sums: as wide as the first linear layer is, it must not lose digits.
    kernel = np.linalg.qr(np.random.default_rng(0).normal(size=(2048, 20)))[0].T
    gram = kernel.T @ kernel
    exact = np.sum(np.square(gram - np.diag(np.diag(gram))))
    np.testing.assert_allclose(orthogonal_penalty({"kernel": kernel.astype(np.float32)}), exact, rtol=1e-5)
