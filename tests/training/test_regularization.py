"""The remedies against closed forms, against numpy in float64, and against finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.config import default_config
from biggan_jax.models.networks import make_discriminator
from biggan_jax.models.spectral_norm import power_iteration
from biggan_jax.training.step.regularization import (
    LogitAverages,
    clamp_singular_value,
    dropout_mask,
    lecam_penalty,
    r1_penalty,
    update_averages,
)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


# R1


def test_r1_of_a_linear_discriminator_is_half_the_square_of_its_weights_at_any_batch_size(float64, rng):
    w = rng.normal(size=(4, 4, 3))
    for count in (1, 5):
        images = rng.normal(size=(count, 4, 4, 3))
        penalty = r1_penalty(lambda x: jnp.sum(x * w, axis=(1, 2, 3)) + 7, images)
        np.testing.assert_allclose(penalty, 0.5 * np.sum(w**2), rtol=1e-12)


def test_r1_averages_over_images_the_square_of_each_ones_own_slope(float64, rng):
    images, w = rng.normal(size=(5, 4, 4, 3)), rng.normal(size=48)

    def judge(x):  # (w·x)², with slope 2(w·x)w
        return jnp.square(x.reshape(len(x), -1) @ w)

    expected = np.mean([0.5 * (2 * (image.ravel() @ w)) ** 2 * (w @ w) for image in images])
    np.testing.assert_allclose(r1_penalty(judge, images), expected, rtol=1e-12)


def test_r1_of_bfloat16_images_is_summed_in_float32():
    images = jnp.zeros((2, 64, 64, 3), jnp.bfloat16)
    penalty = r1_penalty(lambda x: x.astype(jnp.float32).sum(axis=(1, 2, 3)), images)
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


def test_r1_of_the_discriminator_is_that_of_finite_differences_over_every_pixel(tiny, float64):
    network, params, images, labels = tiny
    judge = jax.jit(lambda x, labels: network.apply({"params": params}, x, labels))
    step, pixels = 1e-6, images[0].size
    steps = step * np.eye(pixels).reshape(pixels, *images.shape[1:])
    slopes = [
        np.subtract(*(judge(image + sign * steps, np.repeat(label, pixels)) for sign in (1, -1))) / (2 * step)
        for image, label in zip(images, labels, strict=True)
    ]
    expected = 0.5 * np.mean(np.sum(np.square(slopes), axis=1))
    np.testing.assert_allclose(r1_penalty(lambda x: judge(x, labels), images), expected, rtol=1e-7)


@pytest.mark.parametrize("remat", [False, True])
def test_the_gradient_of_r1_in_each_parameter_is_that_of_finite_differences(tiny, remat, float64, rng):
    network, params, images, labels = tiny
    network = network.clone(remat=remat)

    @jax.jit
    def penalty(params):
        return r1_penalty(lambda x: network.apply({"params": params}, x, labels), images)

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


# Dropout


def test_dropout_zeroes_at_its_rate_and_keeps_the_mean_at_one():
    mask = np.asarray(dropout_mask(keys_of(200), 100, 0.2))
    assert mask.shape == (200, 100) and mask.dtype == np.float32
    np.testing.assert_allclose(np.unique(mask), [0.0, 1 / 0.8], rtol=1e-6)
    assert abs(np.mean(mask == 0) - 0.2) < 0.01  # three and a half standard errors
    assert abs(mask.mean() - 1) < 0.0125


def test_dropout_of_an_image_is_its_own_and_follows_its_key_alone():
    keys = keys_of(6)
    mask = dropout_mask(keys, 50, 0.5)
    assert len(np.unique(mask, axis=0)) == 6
    parts = [dropout_mask(keys[i : i + 2], 50, 0.5) for i in (0, 2, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), mask)


def test_dropout_at_rate_zero_drops_nothing():
    np.testing.assert_array_equal(dropout_mask(keys_of(20), 100, 0.0), np.ones((20, 100)))


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_dropout_refuses_a_rate_that_is_no_chance_or_drops_all(rate):
    with pytest.raises(ValueError, match=f"dropout rate = {rate}"):
        dropout_mask(keys_of(1), 4, rate)


# Singular value clamping


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
