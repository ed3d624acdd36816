"""Penalties against closed forms, against numpy in float64, and against finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.config import default_config
from biggan_jax.models.networks import make_discriminator
from biggan_jax.training.step.penalties import (
    LogitAverages,
    gradient_penalty,
    lecam_penalty,
    orthogonal_penalty,
    update_averages,
)

# R1 and R2


def test_gradient_penalty_of_a_linear_discriminator_is_half_the_square_of_its_weights_at_any_batch_size(
    float64, rng
):
    w = rng.normal(size=(4, 4, 3))
    for count in (1, 5):
        images = rng.normal(size=(count, 4, 4, 3))
        penalty = gradient_penalty(lambda x: jnp.sum(x * w, axis=(1, 2, 3)) + 7, images)
        np.testing.assert_allclose(penalty, 0.5 * np.sum(w**2), rtol=1e-12)


def test_gradient_penalty_averages_over_images_the_square_of_each_ones_own_slope(float64, rng):
    images, w = rng.normal(size=(5, 4, 4, 3)), rng.normal(size=48)

    def logits_of(x):  # (w·x)², with slope 2(w·x)w
        return jnp.square(x.reshape(len(x), -1) @ w)

    expected = np.mean([0.5 * (2 * (image.ravel() @ w)) ** 2 * (w @ w) for image in images])
    np.testing.assert_allclose(gradient_penalty(logits_of, images), expected, rtol=1e-12)


def test_gradient_penalty_of_bfloat16_images_is_summed_in_float32():
    images = jnp.zeros((2, 64, 64, 3), jnp.bfloat16)
    penalty = gradient_penalty(lambda x: x.astype(jnp.float32).sum(axis=(1, 2, 3)), images)
    assert penalty.dtype == jnp.float32
    assert penalty == 0.5 * 64 * 64 * 3  # ones, which in bfloat16 would stop adding up at 256


@pytest.fixture(scope="module")
def tiny():
    """A discriminator of 8 px with attention, in float64, and parameters, images and labels for it."""
    model = default_config().model
    model.update(resolution=8, channels=8, num_classes=3, attention_resolution=0)
    model.update(generator_channels=(1, 1), discriminator_channels=(1, 1))
    network = make_discriminator(model)
    blocks = network.architecture.discriminator_blocks
    blocks = (dataclasses.replace(blocks[0], attention=True), *blocks[1:])
    architecture = dataclasses.replace(network.architecture, discriminator_blocks=blocks)
    with jax.enable_x64(True):
        network = network.clone(architecture=architecture, dtype=jnp.dtype("float64"))
        images, labels = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)), np.array([2, 0])
        shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), images, labels))["params"]
    return network, plain.random_params(shapes, seed=2), images, labels


def test_gradient_penalty_of_the_discriminator_is_that_of_finite_differences_over_every_pixel(tiny, float64):
    network, params, images, labels = tiny
    logits_of = jax.jit(lambda x, labels: network.apply({"params": params}, x, labels))
    step, pixels = 1e-6, images[0].size
    steps = step * np.eye(pixels).reshape(pixels, *images.shape[1:])
    slopes = [
        np.subtract(*(logits_of(image + sign * steps, np.repeat(label, pixels)) for sign in (1, -1)))
        / (2 * step)
        for image, label in zip(images, labels, strict=True)
    ]
    expected = 0.5 * np.mean(np.sum(np.square(slopes), axis=1))
    np.testing.assert_allclose(gradient_penalty(lambda x: logits_of(x, labels), images), expected, rtol=1e-7)


@pytest.mark.parametrize("remat", [False, True])
def test_the_gradient_of_the_gradient_penalty_in_each_parameter_is_that_of_finite_differences(
    tiny, remat, float64, rng
):
    network, params, images, labels = tiny
    network = network.clone(remat=remat)

    @jax.jit
    def penalty(params):
        return gradient_penalty(lambda x: network.apply({"params": params}, x, labels), images)

    leaves, tree = jax.tree.flatten(params)
    slopes = jax.tree.leaves(jax.jit(jax.grad(penalty))(params))
    step, large = 1e-6, 0
    for index, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        direction = rng.normal(size=np.shape(leaf))

        def at(size, index=index, leaf=leaf, direction=direction):
            moved = [*leaves[:index], leaf + size * direction, *leaves[index + 1 :]]
            return penalty(jax.tree.unflatten(tree, moved))

        difference = (at(step) - at(-step)) / (2 * step)
        np.testing.assert_allclose(np.sum(slope * direction), difference, rtol=1e-6, atol=1e-6)
        large += abs(difference) > 1e-2
    assert large >= 12  # the comparison is not one of zeros: all but biases that only shift the logits


# LeCam


def test_lecam_is_the_squared_distance_beyond_the_other_sides_average():
    real, fake = jnp.array([2.0, -1.0]), jnp.array([0.5, -3.0])
    # Real: 2 − (−0.5) = 2.5 and −1 + 0.5 < 0; fake: 1 − 0.5 = 0.5 and 1 + 3 = 4.
    expected = (2.5**2 + 0) / 2 + (0.5**2 + 4.0**2) / 2
    np.testing.assert_allclose(lecam_penalty(real, fake, 1.0, -0.5), expected, rtol=1e-6)


def test_lecam_is_the_papers_equation_where_every_image_is_on_its_own_side(float64, rng):
    real, fake = rng.uniform(1, 3, 7), rng.uniform(-3, -1, 5)
    expected = np.mean((real + 0.9) ** 2) + np.mean((fake - 0.8) ** 2)
    np.testing.assert_allclose(lecam_penalty(real, fake, 0.8, -0.9), expected, rtol=1e-12)


def test_lecam_pulls_logits_towards_the_averages_and_leaves_the_averages_alone():
    logits = (jnp.array([2.0, -1.0]), jnp.array([0.5, -3.0]))
    slopes = jax.grad(lecam_penalty, argnums=(0, 1, 2, 3))(*logits, 1.0, -0.5)
    np.testing.assert_allclose(slopes[0], [2.5, 0.0])
    np.testing.assert_allclose(slopes[1], [-0.5, -4.0])
    assert slopes[2] == slopes[3] == 0


def test_averages_are_those_of_a_replay_in_numpy_and_keep_real_and_fake_apart(rng):
    means, decay = rng.normal(size=(6, 2)), 0.9
    averages, expected = LogitAverages(jnp.float32(3), jnp.float32(-4)), np.array([3.0, -4.0])
    for real_mean, fake_mean in means:
        averages = update_averages(averages, jnp.float32(real_mean), jnp.float32(fake_mean), decay)
        expected = decay * expected + (1 - decay) * np.array([real_mean, fake_mean])
    np.testing.assert_allclose([averages.real, averages.fake], expected, rtol=1e-5)


def test_averages_with_a_decay_of_zero_are_copies_that_forget_where_they_began():
    averages = LogitAverages(jnp.float32(1e6), jnp.float32(-1e6))
    averages = jax.jit(update_averages)(averages, 0.25, -0.5, jnp.float32(0))
    assert averages == LogitAverages(0.25, -0.5)


# Orthogonal regularisation


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (5, 5), (3, 3, 2, 7), (1, 1, 3, 8)])
def test_orthogonal_penalty_and_its_gradient_equal_the_dense_formula(shape, float64):
    kernel = np.random.default_rng(0).normal(size=shape)
    w = kernel.reshape(-1, shape[-1])
    off_diagonal = w.T @ w * (1 - np.eye(shape[-1]))
    value, gradient = jax.value_and_grad(orthogonal_penalty)({"kernel": kernel})
    np.testing.assert_allclose(value, np.linalg.norm(off_diagonal) ** 2, rtol=1e-12)
    np.testing.assert_allclose(
        gradient["kernel"].reshape(w.shape), 4 * w @ off_diagonal, rtol=1e-10, atol=1e-10
    )


def test_orthogonal_penalty_leaves_the_filters_norms_free(float64):
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))[0]
    scaled = {"kernel": q * np.array([0.1, 1.0, 5.0, 30.0])}
    value, gradient = jax.value_and_grad(orthogonal_penalty)(scaled)
    np.testing.assert_allclose(value, 0, atol=1e-20)
    np.testing.assert_allclose(gradient["kernel"], 0, atol=1e-10)


def test_orthogonal_penalty_sums_over_weights_and_spares_embeddings_gains_and_biases(float64):
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


def test_orthogonal_penalty_of_a_wide_weight_is_exact_in_float32(float64):
    # The wide form subtracts sums: as wide as the first linear layer is, it must not lose digits.
    kernel = np.linalg.qr(np.random.default_rng(0).normal(size=(2048, 20)))[0].T
    gram = kernel.T @ kernel
    exact = np.sum(np.square(gram - np.diag(np.diag(gram))))
    np.testing.assert_allclose(orthogonal_penalty({"kernel": kernel.astype(np.float32)}), exact, rtol=1e-5)
