"""Whole generators and discriminators against plain numpy, and who sees which input, at 8 and 16 pixels."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.config import default_config
from biggan_jax.models.architecture import Block
from biggan_jax.models.conditioning import ClassTables, ConditionalBatchNorm
from biggan_jax.models.discriminator import DeepDiscriminatorBlock
from biggan_jax.models.generator import DeepGeneratorBlock
from biggan_jax.models.layers import BatchNormSettings
from biggan_jax.models.networks import make_discriminator, make_generator

BATCH, CLASSES, LATENT = 3, 4, 6
SMALL = dict(resolution=8, generator_channels=(2, 1), discriminator_channels=(1, 2), attention_resolution=0)
TWO_STAGES = dict(
    resolution=16, generator_channels=(2, 2, 1), discriminator_channels=(1, 2, 2), attention_resolution=8
)
DEEP = TWO_STAGES | dict(architecture="biggan_deep", hierarchical_latents=False)
NETWORKS = {
    "hierarchical latents and attention": TWO_STAGES,
    "shared embedding alone": SMALL | dict(hierarchical_latents=False),
    "tables by class": SMALL | dict(hierarchical_latents=False, shared_embedding=False),
    "deep": DEEP,
}
DOWNSAMPLE = {8: (1, 0), 16: (1, 1, 0), "deep": (1, 0, 1, 0)}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make_model(dtype="float64", **fields):
    model = default_config().model
    model.update(channels=8, num_classes=CLASSES, latent_dim=LATENT, class_embedding_dim=5, dtype=dtype)
    model.update(fields)
    return model


def make_inputs(resolution, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, BATCH).astype(np.int32)
    return rng.normal(size=(BATCH, LATENT)), labels, rng.uniform(-1, 1, (BATCH, resolution, resolution, 3))


def make_networks(model):
    """Both networks, and parameters for them that hide nothing."""
    z, labels, images = make_inputs(model.resolution)
    generator, discriminator = make_generator(model), make_discriminator(model)
    g_shapes = jax.eval_shape(generator.init, jax.random.key(0), z, labels)["params"]
    d_shapes = jax.eval_shape(discriminator.init, jax.random.key(0), images, labels)["params"]
    return generator, discriminator, plain.random_params(g_shapes, 1), plain.random_params(d_shapes, 2)


def plain_generator(model, params):
    return plain.Generator(
        params, attention_resolution=model.attention_resolution, hierarchical=model.hierarchical_latents
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_plain_numpy_block_by_block(name):
    model = make_model(**NETWORKS[name])
    generator, discriminator, g_params, d_params = make_networks(model)
    z, labels, images = make_inputs(model.resolution)

    @jax.jit
    def run(g_params, d_params):
        drawn = generator.apply({"params": g_params}, z, labels)
        return drawn, discriminator.apply({"params": d_params}, images, labels)

    drawn, logits = run(g_params, d_params)
    np.testing.assert_allclose(drawn, plain_generator(model, g_params)(z, labels), atol=1e-10)
    assert (
        np.abs(drawn).max() <= 1 and np.std(drawn) > 0.1
    )  # not all saturated, or the line above says little
    down = DOWNSAMPLE["deep" if name == "deep" else model.resolution]
    expected = plain.discriminator(d_params, images, labels, down, model.attention_resolution)
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-10)


def test_stored_statistics_replace_the_batchs_in_every_batch_norm():
    model = make_model(**SMALL)
    generator, _, params, _ = make_networks(model)
    z, labels, _ = make_inputs(8)

    @jax.jit
    def run(params, other_z):
        _, kept = generator.apply({"params": params}, other_z, labels, mutable=["statistics"])
        return kept, generator.apply({"params": params, **kept}, z, labels, stored_statistics=True)

    kept, images = run(params, make_inputs(8, seed=1)[0])
    reference = plain_generator(model, params)
    reference(make_inputs(8, seed=1)[0], labels)
    reference.stored = dict(reference.seen)
    assert len(jax.tree.leaves(kept)) == 2 * len(reference.stored) == 2 * 3
    for path, (mean, variance) in reference.stored.items():
        found = functools.reduce(
            lambda tree, key: tree[key], [*path.split("/"), "normalize"], kept["statistics"]
        )
        np.testing.assert_allclose(found["mean"], mean, atol=1e-11)
        np.testing.assert_allclose(found["variance"], variance, atol=1e-11)
    np.testing.assert_allclose(images, reference(z, labels), atol=1e-10)


def which_change(model, changes):
    """The layers whose outputs differ after each change of the inputs `(z, labels)`."""
    generator, _, params, _ = make_networks(model)
    layers = ["linear"] + [name for name in params if name.startswith("block_")]

    @jax.jit
    def run(z, labels):
        _, kept = generator.apply(
            {"params": params}, z, labels, capture_intermediates=lambda module, _: module.name in layers
        )
        return {name: kept["intermediates"][name]["__call__"][0] for name in layers}

    z, labels, _ = make_inputs(model.resolution)
    before = run(z, labels)
    return {
        name: {layer for layer, after in run(*change(z, labels)).items() if (after != before[layer]).any()}
        for name, change in changes.items()
    }


def test_each_chunk_of_the_latent_first_acts_in_its_own_block():
    def bump(chunk):
        return lambda z, labels: (z + np.repeat(np.arange(3) == chunk, 2), labels)

    changes = {f"chunk {i}": bump(i) for i in range(3)}
    changes["labels"] = lambda z, labels: (z, (labels + 1) % CLASSES)
    assert which_change(make_model(**TWO_STAGES), changes) == {
        "chunk 0": {"linear", "block_0", "block_1"},
        "chunk 1": {"block_0", "block_1"},
        "chunk 2": {"block_1"},
        "labels": {"block_0", "block_1"},
    }


def test_latent_that_is_not_hierarchical_acts_in_the_first_layer_and_the_class_in_the_blocks_only():
    model = make_model(**SMALL | dict(hierarchical_latents=False))
    _, _, params, _ = make_networks(model)
    assert params["linear"]["kernel"].shape[0] == LATENT
    assert params["block_0"]["norm_1"]["gain"]["kernel"].shape[0] == model.class_embedding_dim


def test_deep_generator_sees_latent_and_class_in_the_first_layer_and_every_batch_norm():
    model = make_model(**DEEP)
    changes = {"labels": lambda z, labels: (z, (labels + 1) % CLASSES)}
    assert which_change(model, changes)["labels"] == {"linear", "block_0", "block_1", "block_2", "block_3"}
    _, _, params, _ = make_networks(model)
    condition = LATENT + model.class_embedding_dim
    assert params["linear"]["kernel"].shape[0] == condition
    for block in range(4):
        for norm in range(1, 5):
            assert params[f"block_{block}"][f"norm_{norm}"]["bias"]["kernel"].shape[0] == condition


@pytest.mark.parametrize("name", ["hierarchical latents and attention", "deep"])
def test_biases_rest_only_where_a_batch_norm_takes_them_away(name):
    # Against finite differences of the plain generator. Attention comes between the blocks: it sees the first
    # ones' biases, which then have gradients, and not the last one's.
    model = make_model(**NETWORKS[name])
    generator, _, params, _ = make_networks(model)
    z, labels, images = make_inputs(model.resolution)
    biases, kernels = split_biases(params)

    @jax.jit
    @jax.grad
    def gradient(biases):
        return jnp.sum(images * generator.apply({"params": join(biases, kernels)}, z, labels))

    def slope(path, direction, step=1e-5):
        sides = [join(biases | {path: biases[path] + sign * step * direction}, kernels) for sign in (1, -1)]
        up, down = (np.sum(images * plain_generator(model, side)(z, labels)) for side in sides)
        return (up - down) / (2 * step)

    resting = 0
    for path, found in gradient(biases).items():
        direction = np.random.default_rng(0).normal(size=found.shape)
        np.testing.assert_allclose(np.sum(found * direction), slope(path, direction), atol=1e-6, err_msg=path)
        resting += bool((found == 0).all())
    assert 0 < resting < len(biases)


def split_biases(params):
    """The biases of convolutions in blocks by path, and everything else."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    biases = {path: x for path, x in flat.items() if path.startswith("block_") and path.endswith("/bias")}
    return biases, {path: x for path, x in flat.items() if path not in biases}


def join(biases, others):
    return flax.traverse_util.unflatten_dict(biases | others, sep="/")


def without_main_path(module, *inputs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))["params"]
    params = plain.random_params(shapes, 1)
    params["conv_4"] = jax.tree.map(np.zeros_like, params["conv_4"])
    return params


@pytest.mark.parametrize("up", [False, True])
def test_deep_generators_shortcut_drops_the_last_channels_and_upsamples(up):
    conditioning = ClassTables(CLASSES, 5, deep=True, dtype=jnp.float64)
    norm = functools.partial(ConditionalBatchNorm, conditioning, BatchNormSettings(plain.EPSILON))
    module = DeepGeneratorBlock(Block(8, 4, up, 4 << up), norm, removed_shift=False, dtype=jnp.float64)
    x, labels = np.random.default_rng(0).normal(size=(BATCH, 4, 4, 8)), np.arange(BATCH)
    params = without_main_path(module, x, labels, False)
    kept = x[..., :4]
    result = jax.jit(lambda params: module.apply({"params": params}, x, labels, False))(params)
    np.testing.assert_allclose(result, plain.upsample(kept) if up else kept, atol=1e-12)


@pytest.mark.parametrize("down", [False, True])
def test_deep_discriminators_shortcut_pools_and_appends_extra_channels(down):
    module = DeepDiscriminatorBlock(Block(8, 12, down, 4 >> down), dtype=jnp.float64)
    x = np.random.default_rng(0).normal(size=(BATCH, 4, 4, 8))
    params = without_main_path(module, x)
    pooled = plain.average_pool(x) if down else x
    result = jax.jit(lambda params: module.apply({"params": params}, x))(params)
    np.testing.assert_allclose(result[..., :8], pooled, atol=1e-12)
    np.testing.assert_allclose(result[..., 8:], plain.conv(pooled, params["conv_shortcut"]), atol=1e-12)


def test_rematerialised_networks_give_the_same_images_statistics_and_gradients():
    def run(remat):
        generator, discriminator, g_params, d_params = make_networks(make_model(remat=remat, **SMALL))
        z, labels, _ = make_inputs(8)

        def loss(g_params, d_params):
            images, kept = generator.apply({"params": g_params}, z, labels, mutable=["statistics"])
            logits = discriminator.apply({"params": d_params}, images, labels)
            return jnp.square(logits).sum(), (images, kept)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(g_params, d_params)

    kept, recomputed = run(remat=False), run(remat=True)
    assert jax.tree.structure(kept) == jax.tree.structure(recomputed)
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(recomputed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(a).max())


def test_rematerialised_deep_networks_have_the_same_parameters_and_take_stored_statistics():
    def shapes(remat):
        generator, discriminator, g_params, d_params = make_networks(make_model(remat=remat, **DEEP))
        z, labels, _ = make_inputs(16)

        def run(g_params):
            _, kept = generator.apply({"params": g_params}, z, labels, mutable=["statistics"])
            return generator.apply({"params": g_params, **kept}, z, labels, stored_statistics=True), kept

        return jax.eval_shape(run, g_params), g_params, d_params

    for a, b in zip(*(jax.tree.leaves_with_path(shapes(remat)) for remat in (False, True)), strict=True):
        assert (a[0], a[1].shape) == (b[0], b[1].shape)


def test_bfloat16_networks_keep_float32_parameters_and_stay_near_the_exact_result():
    model = make_model(dtype="bfloat16", **TWO_STAGES)
    generator, discriminator, g_params, d_params = make_networks(model)
    z, labels, images = make_inputs(16)
    drawn, logits = jax.jit(
        lambda g_params, d_params: (
            generator.apply({"params": g_params}, z.astype(np.float32), labels),
            discriminator.apply({"params": d_params}, images.astype(np.float32), labels),
        )
    )(*jax.tree.map(np.float32, (g_params, d_params)))
    assert drawn.dtype == logits.dtype == jnp.float32
    # bfloat16 rounds by up to 2⁻⁹ = 0.2 % an operation; some ten layers of it.
    exact = plain_generator(model, g_params)(z, labels)
    assert np.abs(drawn - exact).mean() < 0.02
    exact = plain.discriminator(d_params, images, labels, (1, 1, 0), 8)
    assert np.abs(logits - exact).max() < 0.03 * np.abs(exact).max()


@pytest.mark.parametrize("fields", [dict(resolution=64), dict(resolution=128, architecture="biggan_deep")])
def test_parameters_are_float32_whatever_the_compute_type(fields):
    with jax.enable_x64(False):
        model = make_model("bfloat16", hierarchical_latents=False, attention_resolution=32, **fields)
        key, labels = jax.random.key(0), jnp.zeros((2,), jnp.int32)
        images, g_variables = jax.eval_shape(
            make_generator(model).init_with_output, key, jnp.zeros((2, LATENT)), labels
        )
        logits, d_variables = jax.eval_shape(make_discriminator(model).init_with_output, key, images, labels)
    assert images.shape == (2, model.resolution, model.resolution, 3) and logits.shape == (2,)
    leaves = jax.tree.leaves((images, logits, g_variables, d_variables))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
