"""Differentiable augmentation against numpy written by hand, and what the batch's cutting may not change."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from biggan_jax.training.step import augmentation

ALL = tuple(augmentation.POLICIES)
augment = jax.jit(augmentation.augment, static_argnums=2)


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


def random_images(count, height=8, width=16, dtype=np.float32):
    return np.random.default_rng(0).uniform(-1, 1, (count, height, width, 3)).astype(dtype)


def color_parameters(image, result):
    """Brightness, saturation and contrast of one result, by least squares, and what they leave unexplained.

    Worked out by hand, x → c·s·(x − p) + c·(p − m) + m + b, for the means p over channels and m over all.
    """
    gray, mean = image.mean(axis=-1, keepdims=True), image.mean()
    columns = [image - gray, np.broadcast_to(gray - mean, image.shape), np.ones_like(image)]
    columns, target = np.stack([c.ravel() for c in columns], axis=1), (result - mean).ravel()
    (both, contrast, brightness), *_ = np.linalg.lstsq(columns, target, rcond=None)
    rest = np.abs(columns @ (both, contrast, brightness) - target).max()
    return brightness, both / contrast, contrast, rest


def moved(image, down, right):
    """Shifted, with zeros around, one pixel at a time."""
    result = np.zeros_like(image)
    height, width, _ = image.shape
    for y, x in np.ndindex(height, width):
        if 0 <= y - down < height and 0 <= x - right < width:
            result[y, x] = image[y - down, x - right]
    return result


def blanked(image, y_center, x_center, size):
    """The paper's code: every pixel of a square is set to 0, those over the edge at the edge instead."""
    result = image.copy()
    height, width, _ = image.shape
    for i, j in np.ndindex(size):
        y = min(max(i + y_center - size[0] // 2, 0), height - 1)
        x = min(max(j + x_center - size[1] // 2, 0), width - 1)
        result[y, x] = 0
    return result


def counts_by_candidate(results, candidates):
    """How often each candidate comes up exactly; every result must be one of them."""
    matches = np.array([(np.asarray(results) == candidate).all(axis=(1, 2, 3)) for candidate in candidates])
    np.testing.assert_array_equal(matches.sum(axis=0), 1)
    return matches.sum(axis=1)


def assert_all_equally_likely(counts):
    expected = counts.mean()
    assert np.abs(counts - expected).max() < 4 * np.sqrt(expected)


def test_color_is_brightness_then_saturation_then_contrast_in_the_papers_ranges():
    with jax.enable_x64(True):
        images = random_images(2000, 2, 3, np.float64)
        results = np.asarray(augment(images, keys_of(2000), ("color",)))
    fits = np.array([color_parameters(*pair) for pair in zip(images, results, strict=True)])
    assert fits[:, 3].max() < 1e-7  # nothing but these three happens (0.5 + contrast is a float32)
    for values, (low, high) in zip(fits.T, [(-0.5, 0.5), (0.0, 2.0), (0.5, 1.5)], strict=False):
        width = high - low
        assert low - 1e-6 < values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() < high + 1e-6
        assert abs(values.mean() - (low + high) / 2) < 0.02 * width  # three standard errors
        assert abs(values.var() - width**2 / 12) < 0.006 * width**2
    correlations = np.corrcoef(fits[:, :3].T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.08


def test_color_keeps_images_as_they_are_on_average():
    image = random_images(1, 4, 4)
    results = augment(np.repeat(image, 4000, axis=0), keys_of(4000), ("color",))
    np.testing.assert_allclose(results.mean(axis=0), image[0], atol=0.04)


@pytest.mark.parametrize(("height", "width", "down", "right"), [(8, 16, 1, 2), (4, 12, 1, 2), (20, 3, 3, 0)])
def test_translation_moves_by_whole_pixels_up_to_an_eighth_and_fills_with_zeros(height, width, down, right):
    image = random_images(1, height, width)
    offsets = itertools.product(range(-down, down + 1), range(-right, right + 1))
    results = augment(image.repeat(300, axis=0), keys_of(300), ("translation",))
    assert_all_equally_likely(counts_by_candidate(results, [moved(image[0], *offset) for offset in offsets]))


@pytest.mark.parametrize(("side", "hole", "places"), [(4, 2, 5), (6, 3, 6), (5, 3, 5)])
def test_cutout_blanks_half_the_sides_anywhere_and_over_the_edge(side, hole, places):
    image = random_images(1, side, 2 * side)
    # The hole is `side` wide. One of an even width has a place more than there are columns.
    centers = itertools.product(range(places), range(2 * side + (side % 2 == 0)))
    candidates = [blanked(image[0], *center, (hole, side)) for center in centers]
    results = augment(image.repeat(600, axis=0), keys_of(600), ("cutout",))
    assert_all_equally_likely(counts_by_candidate(results, candidates))


def test_no_policies_leave_images_as_they_are():
    images = random_images(3)
    np.testing.assert_array_equal(augment(images, keys_of(3), ()), images)


def test_policies_run_in_the_order_given_and_draw_the_same_whichever_others_are_in_use():
    images, keys = random_images(5), keys_of(5)
    for policies in (ALL, ALL[::-1]):
        one_by_one = images
        for policy in policies:
            one_by_one = augment(one_by_one, keys, (policy,))
        np.testing.assert_allclose(augment(images, keys, policies), one_by_one, atol=1e-6)


def test_the_cut_of_the_batch_changes_nothing():
    images, keys = random_images(8), keys_of(8)
    whole = augment(images, keys, ALL)
    parts = [augment(images[i : i + 2], keys[i : i + 2], ALL) for i in range(0, 8, 2)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_replicas_change_nothing_of_images_or_gradients():
    def results_and_slopes(images, keys):
        results, pullback = jax.vjp(lambda images: augment(images, keys, ALL), images)
        return results, *pullback(results)

    images, keys = random_images(8), keys_of(8)
    part = PartitionSpec("replicas")
    mesh = Mesh(np.array(jax.devices()[:4]), part)
    mapped = jax.shard_map(results_and_slopes, mesh=mesh, in_specs=(part, part), out_specs=(part, part))
    for cut, whole in zip(
        jax.jit(mapped)(images, keys), jax.jit(results_and_slopes)(images, keys), strict=True
    ):
        np.testing.assert_allclose(cut, whole, atol=1e-5, rtol=1e-5)


def test_a_key_gives_the_same_change_again_and_another_key_another():
    images = np.repeat(random_images(1), 3, axis=0)
    for policy in ALL:
        first, again, other = augment(images, keys_of(2)[jnp.array([0, 0, 1])], (policy,))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("policies", [*((policy,) for policy in ALL), ALL])
def test_gradients_are_those_of_finite_differences(policies):
    with jax.enable_x64(True):
        images = random_images(3, dtype=np.float64)
        weights, direction = np.random.default_rng(1).normal(size=(2, *images.shape))

        @jax.jit
        def loss(images):
            return jnp.sum(weights * jnp.square(augment(images, keys_of(3), policies)))

        slope = jnp.sum(jax.grad(loss)(images) * direction)
        step = 1e-5
        difference = (loss(images + step * direction) - loss(images - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-7)


def test_bfloat16_images_are_changed_in_float32_and_come_back_as_bfloat16():
    images, keys = jnp.asarray(random_images(4), jnp.bfloat16), keys_of(4)
    result = augment(images, keys, ALL)
    in_float32 = augment(images.astype(jnp.float32), keys, ALL).astype(jnp.bfloat16)
    assert result.dtype == jnp.bfloat16
    assert np.mean(result == in_float32) > 0.99


def test_nothing_is_gathered_or_scattered_which_tpus_do_one_image_at_a_time():
    def slopes(images, keys):
        return jax.grad(lambda x: jnp.square(augment(x, keys, ALL)).sum())(images)

    program = jax.jit(slopes).lower(random_images(4), keys_of(4)).as_text()
    for operation in ("gather", "scatter", "dynamic_slice", "dynamic_update_slice"):
        assert f"stablehlo.{operation}" not in program


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'colour'.*'color', 'translation', 'cutout'"):
        augment(random_images(1), keys_of(1), ("cutout", "colour"))
