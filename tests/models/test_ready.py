"""Kernels made ready for drawing on CPUs: the same convolutions, in other forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models import ready
from biggan_jax.models.convolution import conv, upsample_conv
from biggan_jax.models.ready import convolve, make_ready


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def draw(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("images, side", [(1, 4), (3, 4), (5, 8), (2, 16), (2, 5)])
@pytest.mark.parametrize(
    "operation, wide, form",
    [(upsample_conv, 512, (2, 2)), (conv, 512, (3, 3)), (conv, 6, (4, 4))],
    ids=["upsampling", "as it was", "by tiles"],
)
def test_what_is_ready_convolves_as_its_kernel_does(monkeypatch, operation, wide, form, images, side):
    monkeypatch.setattr(ready, "WIDE", wide)
    monkeypatch.setattr(ready, "TILED", 4)
    x, kernel = draw((images, side, side, 6), 0), draw((3, 3, 6, 5), 1)
    kernels = make_ready(operation, kernel, side, x.dtype)
    odd = side % 2 and form == (4, 4)  # tiles are of 2×2
    assert kernels.shape[:2] == ((3, 3) if odd else form)
    expected = operation(x, kernel)
    np.testing.assert_allclose(convolve(x, kernels), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("few", [0, 10**6])
@pytest.mark.parametrize("operation", [conv, upsample_conv])
def test_few_pixels_and_many_give_the_same(monkeypatch, operation, few):
    monkeypatch.setattr(ready, "FEW_PIXELS", few)
    x, kernel = draw((2, 6, 6, 3), 2), draw((3, 3, 3, 4), 3)
    found = convolve(x, make_ready(operation, kernel, 6, x.dtype))
    np.testing.assert_allclose(found, operation(x, kernel), rtol=0, atol=1e-12)


def test_tiles_lose_little_of_float32():
    x, kernel = draw((1, 8, 8, 512), 4), draw((3, 3, 512, 16), 5) / 68
    expected = conv(x, kernel)
    single = x.astype(jnp.float32), kernel.astype(jnp.float32)
    kernels = make_ready(conv, single[1], 8, jnp.float32)
    assert kernels.shape[:2] == (4, 4)
    errors = [np.abs(found - expected).max() for found in (convolve(single[0], kernels), conv(*single))]
    # Of outputs with a standard deviation of 1.
    assert errors[0] < 1e-5 and errors[0] < 10 * errors[1]


def test_bfloat16_has_no_bits_to_lose_to_tiles():
    kernel = jnp.zeros((3, 3, 512, 4), jnp.float32)
    assert make_ready(conv, kernel, 8, jnp.bfloat16).shape == kernel.shape
