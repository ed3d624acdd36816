"""Pre-transformed kernels for CPUs: the same convolutions in other forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_exports import LATENT, make_exported

from biggan_jax.models.convolution import conv, upsample_conv
from biggan_jax.models.networks import make_generator
from biggan_jax.models.parameter_tree import flatten
from biggan_jax.sampling import cpu_kernels
from biggan_jax.sampling.cpu_kernels import convolve, convolving_with, pre_transform, transform
from biggan_jax.sampling.generation import generate


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def normal(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("images, side", [(1, 4), (3, 4), (5, 8), (2, 16), (2, 5)])
@pytest.mark.parametrize(
    "operation, wide, form",
    [(upsample_conv, 512, (2, 2)), (conv, 512, (3, 3)), (conv, 6, (4, 4))],
    ids=["upsampling", "as it was", "by tiles"],
)
def test_a_transformed_kernel_convolves_as_the_kernel_itself(
    monkeypatch, operation, wide, form, images, side
):
    monkeypatch.setattr(cpu_kernels, "WIDE", wide)
    monkeypatch.setattr(cpu_kernels, "TILED", 4)
    x, kernel = normal((images, side, side, 6), 0), normal((3, 3, 6, 5), 1)
    kernels = transform(operation, kernel, side, x.dtype)
    odd = side % 2 and form == (4, 4)  # tiles are of 2×2
    assert kernels.shape[:2] == ((3, 3) if odd else form)
    expected = operation(x, kernel)
    np.testing.assert_allclose(convolve(x, kernels), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("few", [0, 10**6])
@pytest.mark.parametrize("operation", [conv, upsample_conv])
def test_few_pixels_and_many_give_the_same(monkeypatch, operation, few):
    monkeypatch.setattr(cpu_kernels, "FEW_PIXELS", few)
    x, kernel = normal((2, 6, 6, 3), 2), normal((3, 3, 3, 4), 3)
    result = convolve(x, transform(operation, kernel, 6, x.dtype))
    np.testing.assert_allclose(result, operation(x, kernel), rtol=0, atol=1e-12)


def test_tiles_lose_little_of_float32():
    x, kernel = normal((1, 8, 8, 512), 4), normal((3, 3, 512, 16), 5) / 68
    expected = conv(x, kernel)
    single = x.astype(jnp.float32), kernel.astype(jnp.float32)
    kernels = transform(conv, single[1], 8, jnp.float32)
    assert kernels.shape[:2] == (4, 4)
    errors = [np.abs(y - expected).max() for y in (convolve(single[0], kernels), conv(*single))]
    # Of outputs with a standard deviation of 1.
    assert errors[0] < 1e-5 and errors[0] < 10 * errors[1]


def test_bfloat16_has_no_bits_to_lose_to_tiles():
    kernel = jnp.zeros((3, 3, 512, 4), jnp.float32)
    assert transform(conv, kernel, 8, jnp.bfloat16).shape == kernel.shape


@pytest.mark.parametrize("fields", [{}, {"model.remat": True}], ids=["plain", "rematerialised"])
def test_a_generator_convolves_with_its_transformed_kernels_in_place_of_its_own(monkeypatch, fields):
    exported = make_exported(**fields)
    generator, statistics = make_generator(exported.model), exported.statistics[0.5]
    z, labels = normal((3, LATENT), 6).astype(jnp.float32), jnp.arange(3, dtype=jnp.int32)
    others, kernels = pre_transform(generator, LATENT, exported.params)
    leaves = flatten(exported.params)
    large = {path for path, leaf in leaves.items() if path.endswith("/kernel") and leaf.shape[:2] == (3, 3)}
    assert set(kernels) == large
    assert set(flatten(others)) == set(leaves) - set(kernels)

    used, convolve = [], cpu_kernels.convolve
    monkeypatch.setattr(cpu_kernels, "convolve", lambda x, kernel: used.append(kernel) or convolve(x, kernel))
    with convolving_with(kernels):
        images = generate(generator, others, statistics, z, labels)
    assert len(used) == len(kernels)
    expected = generate(generator, exported.params, statistics, z, labels)
    assert len(used) == len(kernels)  # outside of the context none is used
    np.testing.assert_allclose(images, expected, atol=1e-5)
