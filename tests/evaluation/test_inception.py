"""Inception-v3: the resize, the pools and the head that make FID's network differ from other Inceptions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inception_state import LAYERS, random_state

from biggan_jax.data.tensorflow_runtime import import_tensorflow
from biggan_jax.evaluation.networks import inception, inception_weights
from biggan_jax.evaluation.networks.inception import Inception

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def variables():
    return inception_weights.convert(random_state(seed=0), "random")


@pytest.fixture(scope="module")
def maps(variables):
    """Images, and by name what each layer makes of them."""
    images = RANDOM.integers(0, 256, (2, 40, 56, 3), np.uint8)
    apply = jax.jit(lambda x: Inception().apply(variables, x, capture_intermediates=True))
    (features, logits), state = jax.device_get(apply(images))
    named = {
        name: found["__call__"][0] for name, found in state["intermediates"].items() if name != "__call__"
    }
    return named | {"images": images, "features": features, "logits": logits}


def padded_windows(x, fill):
    """The nine pixels around each pixel, [9, N, H, W, C]; `fill` outside."""
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
    height, width = x.shape[1] - 2, x.shape[2] - 2
    return np.stack([x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)])


@pytest.mark.parametrize("height, width", [(32, 32), (28, 299), (299, 299), (300, 17), (512, 640), (1, 1)])
def test_resize_is_that_of_tensorflow_1(height, width):
    x = RANDOM.integers(0, 256, (2, height, width, 3)).astype(np.float32)
    resize = import_tensorflow().raw_ops.ResizeBilinear
    expected = resize(images=x, size=(299, 299), align_corners=False, half_pixel_centers=False).numpy()
    np.testing.assert_allclose(inception.resize(jnp.asarray(x), 299), expected, rtol=0, atol=1e-4)


def test_resize_of_a_ramp_starts_at_its_first_pixel_and_stops_at_its_last():
    ramp = np.arange(32, dtype=np.float32)
    resized = inception.resize(jnp.asarray(np.tile(ramp[None, :, None, None], (1, 1, 5, 1))), 299)
    expected = np.minimum(np.arange(299) * 32 / 299, 31)
    np.testing.assert_allclose(resized[0, :, 0, 0], expected, atol=1e-5)
    np.testing.assert_array_equal(resized[0], np.broadcast_to(resized[0, :, :1], (299, 299, 1)))


def test_shrinking_skips_pixels_without_smoothing():
    x = np.zeros((1, 598, 598, 1), np.float32)
    x[:, ::2, ::2] = 1
    np.testing.assert_array_equal(inception.resize(jnp.asarray(x), 299), np.ones((1, 299, 299, 1)))


def test_average_pool_leaves_the_padding_out_of_the_count():
    x = RANDOM.standard_normal((2, 4, 6, 3))
    expected = np.nanmean(padded_windows(x, np.nan), axis=0)
    np.testing.assert_allclose(inception.average_pool(jnp.asarray(x)), expected, atol=1e-6)
    np.testing.assert_allclose(
        inception.average_pool(jnp.ones((1, 3, 3, 1))), np.ones((1, 3, 3, 1)), atol=1e-6
    )


@pytest.mark.parametrize(
    "before, block, mean",
    [
        ("Mixed_5b", "Mixed_5c", True),
        ("Mixed_6a", "Mixed_6b", True),
        ("Mixed_6d", "Mixed_6e", True),
        ("Mixed_7a", "Mixed_7b", True),
        ("Mixed_7b", "Mixed_7c", False),
    ],
)
def test_every_block_pools_by_mean_and_the_last_by_maximum(variables, maps, before, block, mean):
    windows = padded_windows(maps[before], np.nan)
    pooled = np.nanmean(windows, axis=0) if mean else np.nanmax(windows, axis=0)
    layer = variables["params"][block]["branch_pool"]
    expected = np.maximum(pooled @ layer["kernel"][0, 0].astype(np.float64) + layer["bias"], 0)
    ours = maps[block][..., -expected.shape[-1] :]
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "block, size", [("Mixed_5d", 35), ("Mixed_6a", 17), ("Mixed_6e", 17), ("Mixed_7c", 8)]
)
def test_the_maps_shrink_as_those_of_the_published_network(maps, block, size):
    assert maps[block].shape == (2, size, size, {35: 288, 17: 768, 8: 2048}[size])


def test_features_are_the_mean_of_the_last_map_and_logits_have_no_bias(variables, maps):
    np.testing.assert_allclose(maps["features"], maps["Mixed_7c"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    expected = maps["features"].astype(np.float64) @ random_state(seed=0)["fc.weight"].T
    np.testing.assert_allclose(maps["logits"], expected, atol=1e-5 * np.abs(expected).max())
    assert maps["logits"].shape == (2, 1008)


def test_the_first_layer_sees_pixels_less_128_over_128(variables, maps):
    layer = variables["params"]["Conv2d_1a_3x3"]
    resized = np.asarray(inception.resize(jnp.asarray(maps["images"], jnp.float32), 299), np.float64)
    patch = (resized[0, 2:5, 4:7] - 128) / 128
    expected = np.maximum(np.einsum("hwc,hwcf->f", patch, layer["kernel"]) + layer["bias"], 0)
    ours = np.maximum(maps["Conv2d_1a_3x3"][0, 1, 2], 0)  # stride 2, no padding; it may stand before its ReLU
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_parameters_are_as_many_as_published():
    shapes = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 8, 8, 3), jnp.uint8))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # torchvision's Inception-v3 (1000 classes) less its auxiliary head has 23,834,568 with batch norm's gains
    channels = sum(outputs for _, outputs, _, _ in LAYERS.values())
    assert count == 23_834_568 - channels - 2049 * 1000 + 2048 * 1008
    assert len(LAYERS) == 94


def test_no_product_is_rounded_to_less_than_float32_on_accelerators():
    x = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.uint8)
    variables = jax.eval_shape(Inception().init, jax.random.key(0), x)
    equations = jax.make_jaxpr(Inception().apply)(variables, x).eqns
    products = [e for e in equations if e.primitive.name in ("conv_general_dilated", "dot_general")]
    assert len(products) == 95
    highest = (jax.lax.Precision.HIGHEST,) * 2
    assert all(equation.params["precision"] == highest for equation in products)
    assert {v.aval.dtype for e in products for v in (*e.invars, *e.outvars)} == {np.dtype(np.float32)}
