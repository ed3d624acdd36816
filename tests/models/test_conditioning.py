"""How the class and the latent reach the batch norms: the table of conditionings and the entries."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.config import ConfigError, default_config, validate
from biggan_jax.models.conditioning import CONDITIONINGS, ConditionalBatchNorm, Conditioning, SelfModulation
from biggan_jax.models.layers import BatchNormSettings, Linear
from biggan_jax.models.networks import make_generator

BATCH, CLASSES, LATENT, SIZE = 4, 3, 6, 8


def make_model(**fields):
    model = default_config().model
    model.update(
        resolution=SIZE,
        channels=4,
        generator_channels=(2, 1),
        discriminator_channels=(1, 1),
        attention_resolution=0,
        num_classes=CLASSES,
        latent_dim=LATENT,
        class_embedding_dim=5,
    )
    model.update(fields)
    return model


def parameter_shapes(model):
    z, labels = jnp.zeros((BATCH, model.latent_dim)), jnp.zeros(BATCH, jnp.int32)
    params = jax.eval_shape(make_generator(model).init, jax.random.key(0), z, labels)["params"]
    return {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(params, sep="/").items()}


def latents(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(BATCH, LATENT)))


@pytest.mark.parametrize("hierarchical", [True, False])
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize(("shared", "name"), [(True, "shared_embedding"), (False, "class_tables")])
def test_without_a_name_shared_embedding_chooses_the_conditioning(shared, name, deep, hierarchical):
    fields = {"hierarchical_latents": hierarchical and shared and not deep}
    fields |= {"architecture": "biggan_deep" if deep else "biggan", "channels": 8}
    by_flag = parameter_shapes(make_model(shared_embedding=shared, **fields))
    by_name = parameter_shapes(make_model(conditioning=name, shared_embedding=not shared, **fields))
    assert by_flag == by_name
    assert ("class_embedding/embedding" in by_flag) == shared
    expected = (CLASSES, 16) if not shared else None
    assert by_flag.get("block_0/norm_1/gain/embedding") == expected


@pytest.mark.parametrize(("hierarchical", "inputs"), [(True, LATENT // 2), (False, LATENT)])
def test_self_modulation_has_one_hidden_layer_on_z_in_every_batch_norm_and_no_class(hierarchical, inputs):
    shapes = parameter_shapes(make_model(conditioning="self_modulation", hierarchical_latents=hierarchical))
    assert not any("embedding" in path for path in shapes)
    assert shapes["linear/kernel"] == (inputs, 16 * 8)
    for norm, width in (("norm_1", 8), ("norm_2", 4)):
        layers = {path: shape for path, shape in shapes.items() if path.startswith(f"block_0/{norm}/")}
        assert layers == {
            f"block_0/{norm}/hidden/kernel": (inputs, 32),
            f"block_0/{norm}/hidden/bias": (32,),
            f"block_0/{norm}/gain/kernel": (32, width),
            f"block_0/{norm}/bias/kernel": (32, width),
        }


def test_self_modulation_computes_gain_and_bias_of_its_equation_from_z():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, z = rng.normal(size=(BATCH, 2, 2, 8)), rng.normal(size=(BATCH, LATENT))
        settings = BatchNormSettings(plain.EPSILON)
        module = ConditionalBatchNorm(SelfModulation(1, 1, dtype=jnp.float64), settings)
        params = plain.random_params(
            jax.eval_shape(lambda: module.init(jax.random.key(0), x, z, False))["params"], 1
        )
        hidden = np.maximum(z @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
        gain, bias = (hidden @ params[name]["kernel"] for name in ("gain", "bias"))
        normal = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + plain.EPSILON)
        expected = normal * (1 + gain)[:, None, None] + bias[:, None, None]
        np.testing.assert_allclose(module.apply({"params": params}, x, z, False), expected, atol=1e-11)


def test_images_of_self_modulation_depend_on_the_latent_and_not_on_the_class():
    model = make_model(conditioning="self_modulation", hierarchical_latents=False)
    generator, labels = make_generator(model), jnp.arange(BATCH) % CLASSES
    shapes = jax.eval_shape(generator.init, jax.random.key(0), latents(), labels)["params"]
    params = jax.tree.map(jnp.float32, plain.random_params(shapes, 1))
    images = jax.jit(lambda z, labels: generator.apply({"params": params}, z, labels))
    first = images(latents(), labels)
    np.testing.assert_array_equal(first, images(latents(), labels[::-1]))
    assert np.abs(first - images(latents(1), labels)).mean() > 0.01


def test_a_new_conditioning_is_one_class_and_one_line_in_the_table(monkeypatch):
    class LatentProjection(Conditioning):
        """Gain and bias are linear in z."""

        def divide_inputs(self, z, labels, num_blocks):
            return z, [z] * num_blocks

        def gain_and_bias(self, condition, features):
            gain, bias = (Linear(features, use_bias=False, name=name) for name in ("gain", "bias"))
            return gain(condition), bias(condition)

    monkeypatch.setitem(CONDITIONINGS, "latent", LatentProjection)
    config = default_config()
    config.model = make_model(conditioning="latent", hierarchical_latents=False)
    config.data.source = "nowhere"
    validate(config)
    shapes = parameter_shapes(config.model)
    assert shapes["block_0/norm_2/gain/kernel"] == (LATENT, 4)


def test_an_unknown_conditioning_is_refused_with_the_names_of_the_table():
    config = default_config()
    config.model.conditioning = "film"
    with pytest.raises(ConfigError, match="config.model.conditioning = 'film': .*'self_modulation'"):
        validate(config)
    with pytest.raises(ValueError, match=r"model.conditioning = 'film': choose one of \('shared_embedding'"):
        make_generator(config.model)
