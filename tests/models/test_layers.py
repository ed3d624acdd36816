"""Each layer against numpy written by hand, in float64, and what bfloat16 may and may not touch."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.models.conditioning import ClassTables, ConditionalBatchNorm, SharedEmbedding
from biggan_jax.models.layers import (
    AffineBatchNorm,
    BatchNorm,
    BatchNormSettings,
    Conv,
    Linear,
    SelfAttention,
    attend,
    attend_one_by_one,
)

EPSILON = 1e-4
ALL = BatchNormSettings(EPSILON)
CLASSES = 3


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def x(rng):
    # Means and spreads that differ by channel and image; not square.
    return rng.normal(size=(5, 4, 6, 8)) * rng.uniform(0.5, 2, 8) + 3 * rng.normal(size=(5, 1, 1, 8))


def params_of(module, *inputs, seed=1):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))["params"]
    return plain.random_params(shapes, seed)


def normalized(x, mean=None, variance=None):
    mean = x.mean(axis=(0, 1, 2)) if mean is None else mean
    variance = x.var(axis=(0, 1, 2)) if variance is None else variance
    return (x - mean) / np.sqrt(variance + EPSILON)


def test_batch_norm_normalizes_each_channel_over_images_and_pixels(x, rng):
    gain, bias = rng.normal(size=8), rng.normal(size=8)
    result = BatchNorm(ALL).apply({}, x, gain, bias, False)
    np.testing.assert_allclose(result, normalized(x) * gain + bias, atol=1e-11)


def test_batch_norm_with_gains_by_image_scales_each_image_by_its_own(x, rng):
    gain, bias = rng.normal(size=(5, 8)), rng.normal(size=(5, 8))
    result = BatchNorm(ALL).apply({}, x, gain, bias, False)
    np.testing.assert_allclose(result, normalized(x) * gain[:, None, None] + bias[:, None, None], atol=1e-11)


def test_batch_norm_adds_epsilon_to_the_variance_not_to_its_root():
    x = np.tile(np.array([1e-2, -1e-2])[:, None, None, None], (1, 2, 2, 1))  # variance 1e-4 = epsilon
    result = BatchNorm(ALL).apply({}, x, np.ones(1), np.zeros(1), False)
    np.testing.assert_allclose(result, x / np.sqrt(2e-4), rtol=1e-12)


def test_batch_norm_of_a_constant_channel_is_its_bias_and_has_finite_gradients():
    x = np.full((2, 2, 2, 1), 7.0)
    norm = lambda x: BatchNorm(ALL).apply({}, x, jnp.ones(1), jnp.full(1, 0.5), False)  # noqa: E731
    np.testing.assert_allclose(norm(x), 0.5, atol=1e-12)
    assert np.isfinite(jax.grad(lambda x: norm(x).sum())(x)).all()


def over_replicas(settings, x):
    """Batch norm of `x: [replicas, N, H, W, C]` with gain 1 and bias 0, as `[replicas × N, H, W, C]`."""
    if jax.device_count() < len(x):
        pytest.skip(f"needs {len(x)} devices")
    norm = BatchNorm(settings)
    mapped = jax.pmap(
        lambda part: norm.apply({}, part, jnp.ones(8), jnp.zeros(8), False), axis_name="replicas"
    )
    return np.asarray(mapped(x)).reshape(-1, *x.shape[2:])


def normalized_by_group(x, size):
    x = x.reshape(-1, size, *x.shape[2:])
    return np.concatenate([normalized(group) for group in x])


@pytest.fixture
def replicas_x(rng):
    return rng.normal(size=(4, 2, 2, 2, 8)) + 3 * rng.normal(size=(4, 2, 1, 1, 8))  # images with own means


def test_batch_norm_over_a_mapped_axis_takes_the_statistics_of_all_replicas(replicas_x):
    result = over_replicas(BatchNormSettings(EPSILON, "replicas"), replicas_x)
    np.testing.assert_allclose(result, normalized_by_group(replicas_x, 8), atol=1e-11)


@pytest.mark.parametrize("group", [1, 2, 4, 8])
def test_batch_norm_groups_are_neighbours_in_the_global_batch(replicas_x, group):
    # Of 4 replicas with 2 images: a group is a part of a replica, one, two, or all.
    expected = normalized_by_group(replicas_x, group)
    result = over_replicas(BatchNormSettings(EPSILON, "replicas", group), replicas_x)
    np.testing.assert_allclose(result, expected, atol=1e-11)
    one_replica = over_replicas(
        BatchNormSettings(EPSILON, "replicas", group), replicas_x.reshape(1, 8, 2, 2, 8)
    )
    np.testing.assert_allclose(one_replica, expected, atol=1e-11)


def test_batch_norm_in_groups_keeps_each_images_own_gain(replicas_x, rng):
    x, gain = replicas_x.reshape(8, 2, 2, 8), rng.normal(size=(8, 8))
    result = BatchNorm(BatchNormSettings(EPSILON, group=4)).apply({}, x, gain, np.zeros((8, 8)), False)
    np.testing.assert_allclose(result, normalized_by_group(replicas_x, 4) * gain[:, None, None], atol=1e-11)


def test_batch_norm_gives_away_its_batch_statistics_only_when_asked(x):
    inputs = (x, np.ones(8), np.zeros(8), False)
    _, kept = BatchNorm(ALL).apply({}, *inputs, mutable=["statistics"])
    np.testing.assert_allclose(kept["statistics"]["mean"], x.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(kept["statistics"]["variance"], x.var(axis=(0, 1, 2)), rtol=1e-11)
    assert not isinstance(BatchNorm(ALL).apply({}, *inputs), tuple)


def test_batch_norm_with_stored_statistics_ignores_the_batch(x, rng):
    mean, variance = rng.normal(size=8), rng.uniform(0.5, 2, 8)
    variables = {"statistics": {"mean": mean, "variance": variance}}
    result = BatchNorm(ALL).apply(variables, x, np.full(8, 2.0), np.full(8, 0.5), True)
    np.testing.assert_allclose(result, 2 * normalized(x, mean, variance) + 0.5, atol=1e-11)
    alone = BatchNorm(ALL).apply(variables, x[:1], np.full(8, 2.0), np.full(8, 0.5), True)
    np.testing.assert_allclose(alone, result[:1], atol=1e-12)


def test_last_batch_norm_has_one_gain_and_bias_a_channel_one_and_zero_at_first(x):
    module = AffineBatchNorm(ALL)
    initial = module.init(jax.random.key(0), x, False)["params"]
    assert (initial["gain"] == 1).all() and (initial["bias"] == 0).all()
    params = params_of(module, x, False)
    expected = normalized(x) * params["gain"] + params["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, x, False), expected, atol=1e-11)


def test_conditional_batch_norm_projects_the_condition_to_gain_around_one_and_bias(x, rng):
    condition = rng.normal(size=(5, 7))
    module = ConditionalBatchNorm(SharedEmbedding(CLASSES, 7, dtype=jnp.float64), ALL)
    params = params_of(module, x, condition, False)
    assert {name: set(layer) for name, layer in params.items()} == {"gain": {"kernel"}, "bias": {"kernel"}}
    gain = 1 + condition @ params["gain"]["kernel"]
    bias = condition @ params["bias"]["kernel"]
    expected = normalized(x) * gain[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(module.apply({"params": params}, x, condition, False), expected, atol=1e-11)


def test_conditional_batch_norm_by_labels_takes_gain_and_bias_from_a_table(x):
    labels = np.array([0, 2, 2, 1, 0])
    module = ConditionalBatchNorm(ClassTables(CLASSES, 7, dtype=jnp.float64), ALL)
    params = params_of(module, x, labels, False)
    gain, bias = 1 + params["gain"]["embedding"][labels], params["bias"]["embedding"][labels]
    expected = normalized(x) * gain[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(module.apply({"params": params}, x, labels, False), expected, atol=1e-11)


def test_conditional_batch_norm_with_stored_statistics_is_the_same_alone_and_in_a_batch(x, rng):
    condition = rng.normal(size=(5, 7))
    module = ConditionalBatchNorm(SharedEmbedding(CLASSES, 7, dtype=jnp.float64), ALL)
    statistics = {"normalize": {"mean": rng.normal(size=8), "variance": rng.uniform(0.5, 2, 8)}}
    variables = {"params": params_of(module, x, condition, False), "statistics": statistics}
    together = module.apply(variables, x, condition, True)
    alone = module.apply(variables, x[2:3], condition[2:3], True)
    np.testing.assert_allclose(alone[0], together[2], atol=1e-12)


def test_attention_equals_a_loop_over_pixels_with_max_pooled_keys_and_values(x):
    module = SelfAttention(dtype=jnp.float64)
    params = params_of(module, x)
    shapes = {name: layer["kernel"].shape[2:] for name, layer in params.items() if name != "gamma"}
    assert shapes == {"theta": (8, 1), "phi": (8, 1), "g": (8, 4), "o": (4, 8)}
    np.testing.assert_allclose(module.apply({"params": params}, x), plain.attention(x, params), atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_is_the_same_for_all_images_at_once_and_one_by_one(rng, dtype):
    images = [jnp.asarray(rng.normal(size=(3, *shape)), dtype) for shape in ((16, 2), (4, 2), (4, 5))]

    def loss(function):
        return lambda *images: (function(*images).astype("float32") ** 2).sum()

    tolerance = {"float32": 1e-6, "bfloat16": 1e-2}[dtype]
    for wrap in (lambda f: f, lambda f: jax.grad(loss(f), argnums=(0, 1, 2))):
        at_once, one_by_one = (jax.tree.leaves(wrap(f)(*images)) for f in (attend, attend_one_by_one))
        for one, other in zip(at_once, one_by_one, strict=True):
            assert one.dtype == other.dtype == dtype
            scale = np.abs(one.astype("float32")).max()
            np.testing.assert_allclose(
                one.astype("float32"), other.astype("float32"), atol=tolerance * float(scale)
            )


def test_attention_is_the_identity_until_gamma_is_learnt(x):
    module = SelfAttention(dtype=jnp.float64)
    np.testing.assert_array_equal(module.init_with_output(jax.random.key(0), x)[0], x)


def test_attention_survives_logits_far_beyond_the_exponentials_range(x):
    params = params_of(SelfAttention(), x)
    result = SelfAttention(dtype=jnp.float32).apply({"params": params}, 1e3 * x.astype(np.float32))
    assert np.isfinite(result).all()


def test_convolution_and_linear_add_their_bias_to_each_output_channel(x):
    for module, inputs, reference in [
        (Conv(5, dtype=jnp.float64), x, plain.conv),
        (Conv(5, size=1, use_bias=False, dtype=jnp.float64), x, plain.conv),
        (Linear(5, dtype=jnp.float64), x[:, 0, 0], plain.linear),
        (Linear(5, use_bias=False, dtype=jnp.float64), x[:, 0, 0], plain.linear),
    ]:
        params = params_of(module, inputs)
        assert ("bias" in params) == module.use_bias
        np.testing.assert_allclose(
            module.apply({"params": params}, inputs), reference(inputs, params), atol=1e-12
        )


def test_batch_norm_computes_its_statistics_in_float32_for_bfloat16_maps(rng):
    # 512 pixels a channel at 8 ± 1: sums in bfloat16 (8 bits) would be off by whole units.
    x = jnp.asarray(rng.normal(size=(2, 16, 16, 4)) + 8, jnp.bfloat16)
    module = BatchNorm(ALL)
    inputs = (x, np.ones(4, np.float32), np.zeros(4, np.float32), False)
    y, kept = module.apply({}, *inputs, mutable=["statistics"])
    exact = np.asarray(x, np.float64)
    assert y.dtype == jnp.bfloat16 and kept["statistics"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(kept["statistics"]["mean"], exact.mean(axis=(0, 1, 2)), rtol=1e-6)
    # E[x²] − E[x]² cancels: sums of 64 ± rounding are subtracted for a variance of 1.
    np.testing.assert_allclose(kept["statistics"]["variance"], exact.var(axis=(0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_attention_weights_sum_to_one_whatever_the_compute_type(dtype):
    # Constant values come out unchanged only if the softmax is normalised in enough digits.
    x = jnp.ones((1, 8, 8, 8), dtype)
    params = params_of(SelfAttention(), x)
    result = SelfAttention(dtype=dtype).apply({"params": params}, x)
    exact = plain.attention(np.ones((1, 8, 8, 8)), params)
    assert result.dtype == dtype
    digits = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(result, np.float64), exact, atol=8 * digits * np.abs(exact).max())
