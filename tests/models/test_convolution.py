"""Convolutions that change resolution against plain ones, in float64: values and two orders of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.models import convolution

SHAPE = (2, 4, 6, 3)  # not square, so that exchanged axes show
KERNEL = (3, 3, 3, 5)
PAIRS = {
    "upsample_conv": (
        convolution.upsample_conv,
        lambda x, kernel: convolution.conv(convolution.upsample(x), kernel),
    ),
    "conv_downsample": (
        convolution.conv_downsample,
        lambda x, kernel: convolution.average_pool(convolution.conv(x, kernel)),
    ),
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=SHAPE)


@pytest.fixture
def kernel():
    return np.random.default_rng(1).normal(size=KERNEL)


def derivatives(function):
    """Value, gradients, and gradients of the gradients' squared norms (as in R1) of a curved function."""

    def loss(x, kernel):
        return jnp.sum(jnp.sin(function(x, kernel)))

    def steepness(x, kernel):
        return sum(jnp.sum(jnp.square(g)) for g in jax.grad(loss, argnums=(0, 1))(x, kernel))

    return jax.jit(
        lambda x, kernel: {
            "value": function(x, kernel),
            "gradient": jax.grad(loss, argnums=(0, 1))(x, kernel),
            "gradient of gradient": jax.grad(steepness, argnums=(0, 1))(x, kernel),
        }
    )


@pytest.fixture(scope="module", params=PAIRS)
def rewritten_and_plain(request):
    return tuple(derivatives(function) for function in PAIRS[request.param])


def test_rewrites_that_change_resolution_equal_the_plain_form_up_to_second_derivatives(
    rewritten_and_plain, x, kernel
):
    rewritten, expected = (function(x, kernel) for function in rewritten_and_plain)
    assert jax.tree.map(jnp.shape, rewritten) == jax.tree.map(jnp.shape, expected)
    for name in expected:
        for a, b in zip(jax.tree.leaves(rewritten[name]), jax.tree.leaves(expected[name]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11, err_msg=name)


def test_dilated_form_for_accelerators_equals_the_phases_for_cpus(x):
    # The tests run on a CPU, which takes one of the two forms only.
    kernel = np.random.default_rng(2).normal(size=(4, 4, 3, 5))
    dilated, phases = (
        convolution._transposed_by_dilation(x, kernel),
        convolution._transposed_by_phases(x, kernel),
    )
    np.testing.assert_allclose(dilated, phases, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_convolution_pads_with_zeros_and_does_not_flip_the_kernel(x, kernel, size):
    kernel = kernel[:size, :size]
    np.testing.assert_allclose(convolution.conv(x, kernel), plain.conv(x, {"kernel": kernel}), atol=1e-12)


def test_upsampling_repeats_each_pixel_in_a_2x2_square(x):
    np.testing.assert_array_equal(convolution.upsample(jnp.asarray(x)), plain.upsample(x))


def test_average_pool_is_the_mean_of_each_2x2_square(x):
    np.testing.assert_allclose(convolution.average_pool(jnp.asarray(x)), plain.average_pool(x), atol=1e-15)


def test_1x1_convolution_commutes_with_both_changes_of_resolution(x, kernel):
    pointwise = kernel[:1, :1]
    for change in (convolution.upsample, convolution.average_pool):
        before = change(convolution.conv(jnp.asarray(x), pointwise))
        after = convolution.conv(change(jnp.asarray(x)), pointwise)
        np.testing.assert_allclose(before, after, atol=1e-12)
