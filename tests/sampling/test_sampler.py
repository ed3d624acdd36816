"""Drawing: spectral norm divided in, standing statistics, and images that do not depend on their batch."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.config import default_config
from biggan_jax.models import make_generator
from biggan_jax.models.spectral_norm import normalize, power_iteration
from biggan_jax.sampling.latents import draw_labels, draw_latents
from biggan_jax.sampling.sampler import Sampler, fixed_latents

CLASSES, LATENT, SIZE = 3, 4, 8
BATCH, PASSES = 4, 3


def make_config(**sampling):
    config = default_config()
    config.seed = 5
    config.model.update(
        resolution=SIZE,
        channels=4,
        generator_channels=(2, 1),
        discriminator_channels=(1, 1),
        num_classes=CLASSES,
        latent_dim=LATENT,
        class_embedding_dim=3,
        attention_resolution=0,
    )
    config.sampling.update(standing_passes=PASSES, batch_size=BATCH, truncation=0.8)
    config.sampling.update(sampling)
    return config


def make_params(config, seed):
    z, labels = jnp.zeros((2, LATENT)), jnp.zeros(2, jnp.int32)
    shapes = jax.eval_shape(make_generator(config.model).init, jax.random.key(0), z, labels)["params"]
    return jax.tree.map(np.float32, plain.random_params(shapes, seed))


def make_vectors(params, seed=0):
    rng = np.random.default_rng(seed)
    u = {
        jax.tree_util.keystr(path, simple=True, separator="/"): rng.normal(size=leaf.shape[-1]).astype(
            np.float32
        )
        for path, leaf in jax.tree.leaves_with_path(params)
        if path[-1].key == "kernel"
    }
    return {path: vector / np.linalg.norm(vector) for path, vector in u.items()}


@pytest.fixture(scope="module")
def config():
    return make_config()


@pytest.fixture(scope="module")
def params(config):
    return make_params(config, seed=1)


@pytest.fixture(scope="module")
def sampler(config, params):
    return Sampler(config, params, make_vectors(params))


@pytest.fixture(scope="module")
def reference(config, params):
    """The generator in plain numpy, with its weights divided and its standing statistics gathered by hand."""
    vectors = power_iteration(params, make_vectors(params), config.model.epsilon)
    weights = normalize(params, vectors, config.model.epsilon)
    generator = plain.Generator(jax.tree.map(np.float64, weights))
    passes = []
    for key in jax.random.split(jax.random.key(config.seed), PASSES):
        z_key, label_key = jax.random.split(key)
        indices = jnp.arange(BATCH)
        z = draw_latents(z_key, indices, LATENT, truncation=config.sampling.truncation)
        generator(np.asarray(z, np.float64), np.asarray(draw_labels(label_key, indices, CLASSES)))
        passes.append(dict(generator.seen))
    generator.stored = {path: np.mean([seen[path] for seen in passes], axis=0) for path in passes[0]}
    return generator


@pytest.fixture(scope="module")
def ten():
    rng = np.random.default_rng(0)
    return rng.normal(size=(10, LATENT)).astype(np.float32), rng.integers(0, CLASSES, 10)


def test_standing_statistics_are_the_mean_over_passes_at_the_truncation_in_use(sampler, reference):
    for path, (mean, variance) in reference.stored.items():
        found = sampler.statistics
        for name in (*path.split("/"), "normalize"):
            found = found[name]
        np.testing.assert_allclose(found["mean"], mean, atol=1e-4, err_msg=path)
        np.testing.assert_allclose(found["variance"], variance, rtol=1e-3, err_msg=path)


def test_images_are_the_generators_with_standing_statistics_as_bytes(sampler, reference, ten):
    images = sampler.images(*ten)
    exact = (reference(*ten) + 1) * 127.5
    assert images.shape == (10, SIZE, SIZE, 3) and images.dtype == np.uint8
    assert exact.std() > 30
    # Half a step of rounding to bytes, and float32.
    assert np.abs(images - exact).max() < 0.51


def test_images_are_the_same_alone_in_parts_and_all_at_once(sampler, ten):
    z, labels = ten
    together = sampler.images(z, labels)
    np.testing.assert_array_equal(sampler.images(z[7:8], labels[7:8]), together[7:8])
    np.testing.assert_array_equal(
        np.concatenate([sampler.images(z[:3], labels[:3]), sampler.images(z[3:], labels[3:])]), together
    )


def test_drawing_nothing_gives_no_images(sampler):
    assert sampler.images(np.zeros((0, LATENT)), []).shape == (0, SIZE, SIZE, 3)


def test_drawing_by_seed_and_position_uses_the_truncation(sampler, config):
    labels = np.array([0, 1, 2, 0, 1])
    z = draw_latents(jax.random.key(7), jnp.arange(5), LATENT, truncation=config.sampling.truncation)
    np.testing.assert_array_equal(sampler.draw(labels, seed=7), sampler.images(z, labels))
    np.testing.assert_array_equal(sampler.draw(labels[:2], seed=7), sampler.draw(labels, seed=7)[:2])
    assert (sampler.draw(labels, seed=8) != sampler.draw(labels, seed=7)).any()


def test_truncation_given_to_the_sampler_replaces_the_configs(config, params, sampler):
    other = Sampler(config, params, make_vectors(params), truncation=0.2)
    assert (other.truncation, sampler.truncation) == (0.2, 0.8)
    changed = [
        not np.allclose(a, b)
        for a, b in zip(jax.tree.leaves(other.statistics), jax.tree.leaves(sampler.statistics), strict=True)
    ]
    assert any(changed)


def test_new_weights_of_the_same_network_compile_nothing_anew(config, sampler, ten, caplog):
    sampler.images(*ten)
    new = make_params(make_config(), seed=2)
    vectors = make_vectors(new)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        images = Sampler(make_config(), new, vectors).images(*ten)
        assert not [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]
        jax.jit(lambda x: x * 3 + 1)(np.ones(7))  # and a compilation would have been seen
        assert "Compiling" in caplog.text
    assert (images != sampler.images(*ten)).any()


@pytest.mark.parametrize(
    ("z", "labels", "words"),
    [
        (np.zeros((2, LATENT + 1)), [0, 1], r"\(2, 5\) with labels.*\[N, 4\]"),
        (np.zeros((3, LATENT)), [0, 1], r"\(3, 4\) with labels of shape \(2,\)"),
        (np.zeros((2, LATENT)), [0, CLASSES], "labels from 0 to 3.*0 to 2"),
        (np.zeros((2, LATENT)), [-1, 0], "labels from -1 to 0"),
        (np.zeros((2, LATENT)), [[0, 1], [1, 2]], r"labels of shape \(2, 2\)"),
    ],
)
def test_latents_and_labels_that_do_not_fit_are_refused(sampler, z, labels, words):
    with pytest.raises(ValueError, match=words):
        sampler.images(z, labels)


def test_sheets_latents_share_a_latent_in_each_row_and_a_class_in_each_column():
    config = make_config()
    z, labels = fixed_latents(config, rows=2, classes=[2, 0, 1], seed=3)
    np.testing.assert_array_equal(labels, [2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(z[:3], np.repeat(z[:1], 3, axis=0))
    np.testing.assert_array_equal(z[3:], np.repeat(z[3:4], 3, axis=0))
    assert not np.allclose(z[0], z[3]) and np.abs(z).max() <= config.sampling.truncation
    more_rows, _ = fixed_latents(config, rows=5, classes=[0], seed=3)
    np.testing.assert_array_equal(more_rows[:2], z[::3])


def test_the_number_of_devices_changes_no_bit_of_statistics_or_images(config, params):
    labels = np.arange(11) % CLASSES  # two whole batches and a part of one
    one, several = (Sampler(config, params, make_vectors(params), devices=jax.devices()[:n]) for n in (1, 3))
    for a, b in zip(jax.tree.leaves(one.statistics), jax.tree.leaves(several.statistics), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.draw(labels, seed=2), several.draw(labels, seed=2))


def test_a_sequence_drawn_in_parts_is_the_one_drawn_at_once(sampler):
    labels = np.arange(10) % CLASSES
    whole = sampler.draw(labels, seed=3)
    parts = [sampler.draw(labels[:3], seed=3), sampler.draw(labels[3:], seed=3, start=3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole[3:] != sampler.draw(labels[3:], seed=3)).any()
