"""Sampling: spectral norm divided in, standing statistics, and images that do not depend on their batch."""

import concurrent.futures
import dataclasses
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import plain_networks as plain
import pytest

from biggan_jax.config import default_config
from biggan_jax.models.networks import make_generator
from biggan_jax.models.spectral_norm import normalize, power_iteration
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.latents import sample_labels, sample_latents
from biggan_jax.sampling.sampler import TRUNCATIONS_KEPT, Sampler, largest_batch
from biggan_jax.sampling.standing_statistics import prepare_generator

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


def make_sampler(config, params, truncations=None, devices=None):
    exported = prepare_generator(config, params, make_vectors(params), truncations, devices=devices)
    return Sampler(exported, batch_size=BATCH, devices=devices)


@pytest.fixture(scope="module")
def sampler(config, params):
    return make_sampler(config, params)


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
        z = sample_latents(z_key, indices, LATENT, truncation=config.sampling.truncation)
        generator(np.asarray(z, np.float64), np.asarray(sample_labels(label_key, indices, CLASSES)))
        passes.append(dict(generator.seen))
    generator.stored = {path: np.mean([seen[path] for seen in passes], axis=0) for path in passes[0]}
    return generator


@pytest.fixture(scope="module")
def ten():
    rng = np.random.default_rng(0)
    return rng.normal(size=(10, LATENT)).astype(np.float32), rng.integers(0, CLASSES, 10)


def test_standing_statistics_are_the_mean_over_passes_at_the_truncation_in_use(
    config, params, sampler, reference
):
    statistics = prepare_generator(config, params, make_vectors(params)).statistics
    for path, (mean, variance) in reference.stored.items():
        found = statistics[sampler.truncation]
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 2**32}, r"seed = 4294967296: give 0 or more, below 2\*\*32"),
        ({"seed": -1}, "seed = -1"),
        ({"start": 2**31}, "positions are 0 to"),
        ({"start": -1}, "positions are 0 to"),
        ({"truncation": 1e30}, r"truncation = 1e\+30: give 0 to 100; 0 is untruncated"),
        ({"truncation": math.nan}, "truncation = nan"),
    ],
)
def test_numbers_that_would_be_rounded_or_cut_in_silence_are_refused(sampler, arguments, message):
    with pytest.raises(UserError, match=message):
        sampler.sample([0], **arguments)


@pytest.mark.parametrize("value", [1e303, 1e30, math.nan])
def test_latents_and_weights_beyond_float32_are_refused(sampler, value):
    z, weights = np.zeros((1, LATENT)), np.full((1, CLASSES), 1 / CLASSES)
    with pytest.raises(UserError, match="latents up to"):
        sampler.images(z + value, [0])
    with pytest.raises(UserError, match="weights up to"):
        sampler.images(z, weights * value)


def test_sampling_nothing_gives_no_images(sampler):
    assert sampler.images(np.zeros((0, LATENT)), []).shape == (0, SIZE, SIZE, 3)


def test_sampling_by_seed_and_position_uses_the_truncation(sampler, config):
    labels = np.array([0, 1, 2, 0, 1])
    z = sample_latents(jax.random.key(7), jnp.arange(5), LATENT, truncation=config.sampling.truncation)
    np.testing.assert_array_equal(sampler.sample(labels, seed=7), sampler.images(z, labels))
    np.testing.assert_array_equal(sampler.sample(labels[:2], seed=7), sampler.sample(labels, seed=7)[:2])
    assert (sampler.sample(labels, seed=8) != sampler.sample(labels, seed=7)).any()


def test_each_truncation_has_latents_and_statistics_of_its_own(config, params, sampler):
    both = make_sampler(config, params, [0.2, 0.8])
    assert (
        both.truncations == (0.2, 0.8) and both.truncation == 0.8
    )  # there are none of the whole distribution
    labels = np.arange(5) % CLASSES
    np.testing.assert_array_equal(both.sample(labels, 0.8), sampler.sample(labels))
    alone = make_sampler(config, params, [0.2])
    np.testing.assert_array_equal(both.sample(labels, 0.2), alone.sample(labels))
    assert np.abs(both.latents(50, 0.2)).max() <= 0.2 < np.abs(both.latents(50, 0.8)).max()
    z = both.latents(5, 0.2)
    assert (both.images(z, labels, 0.2) != both.images(z, labels, 0.8)).any()  # of the statistics


def test_new_weights_of_the_same_network_compile_nothing_anew(config, sampler, ten, caplog):
    sampler.images(*ten)
    new = make_params(make_config(), seed=2)
    vectors = make_vectors(new)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        images = Sampler(prepare_generator(make_config(), new, vectors), batch_size=BATCH).images(*ten)
        assert not [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]
        jax.jit(lambda x: x * 3 + 1)(np.ones(7))  # and a compilation would have been seen
        assert "Compiling" in caplog.text
    assert (images != sampler.images(*ten)).any()


@pytest.mark.parametrize(
    ("z", "labels", "words"),
    [
        (np.zeros((2, LATENT + 1)), [0, 1], r"\(2, 5\) with classes.*\[N, 4\]"),
        (np.zeros((3, LATENT)), [0, 1], r"\(3, 4\) with classes of shape \(2,\)"),
        (np.zeros((2, LATENT)), [0, CLASSES], "class 3: the classes are 0 to 2"),
        (np.zeros((2, LATENT)), [-1, 0], "class -1: the classes are"),
        (np.zeros((2, LATENT)), [True, 0], "class True: give a number or a name"),
        (np.zeros((2, LATENT)), [[0, 1], [1, 2]], r"classes of shape \(2, 2\).*weights \[N, 3\]"),
    ],
)
def test_latents_and_labels_that_do_not_fit_are_refused(sampler, z, labels, words):
    with pytest.raises(ValueError, match=words):
        sampler.images(z, labels)


def test_the_number_of_devices_changes_no_bit_of_statistics_or_images(config, params):
    labels = np.arange(11) % CLASSES  # two whole batches and a part of one
    devices = jax.devices()[:1], jax.devices()[:3]
    vectors = make_vectors(params)
    found = [prepare_generator(config, params, vectors, devices=some).statistics[0.8] for some in devices]
    jax.tree.map(np.testing.assert_array_equal, *found)
    one, several = (make_sampler(config, params, devices=some) for some in devices)
    np.testing.assert_array_equal(one.sample(labels, seed=2), several.sample(labels, seed=2))


def test_a_sequence_sampled_in_parts_is_the_one_sampled_at_once(sampler):
    labels = np.arange(10) % CLASSES
    whole = sampler.sample(labels, seed=3)
    parts = [sampler.sample(labels[:3], seed=3), sampler.sample(labels[3:], seed=3, start=3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole[3:] != sampler.sample(labels[3:], seed=3)).any()


def test_weights_of_one_class_generate_that_class_and_halves_the_mean_of_two_embeddings(
    sampler, config, params
):
    z = sampler.latents(3, seed=1)
    one_hot = np.eye(CLASSES)[[2, 0, 1]]
    np.testing.assert_array_equal(sampler.images(z, one_hot), sampler.images(z, [2, 0, 1]))
    embedding = np.array(params["class_embedding"]["embedding"])
    embedding[0] = (embedding[0] + embedding[1]) / 2
    other = jax.tree.map(np.array, params)
    other["class_embedding"]["embedding"] = embedding
    half = sampler.images(z[:1], [[0.5, 0.5, 0]], dtype="float32")
    exported = prepare_generator(config, params, make_vectors(params))
    mixed = Sampler(
        dataclasses.replace(exported, params=exported.params | {"class_embedding": other["class_embedding"]})
    )
    np.testing.assert_allclose(half, mixed.images(z[:1], [0], dtype="float32"), atol=1e-5)


def test_class_weights_mix_the_tables_of_a_network_without_a_shared_embedding():
    config = make_config()
    config.model.update(shared_embedding=False, hierarchical_latents=False)
    exported = prepare_generator(config, params := make_params(config, seed=3), make_vectors(params))
    sampler = Sampler(exported)
    z = sampler.latents(2)
    np.testing.assert_array_equal(sampler.images(z, np.eye(CLASSES)[[1, 2]]), sampler.images(z, [1, 2]))
    assert (sampler.images(z, [1, 2]) != sampler.images(z, [2, 1])).any()


def test_interpolation_begins_and_ends_at_its_ends_and_goes_straight(sampler):
    images = sampler.interpolate((0, 2), (5, 9), steps=3, dtype="float32")
    ends = [sampler.sample([label], seed=seed, dtype="float32")[0] for label, seed in ((0, 5), (2, 9))]
    np.testing.assert_allclose(images[[0, 2]], ends, atol=1e-5)
    z = (sampler.latents(1, seed=5) + sampler.latents(1, seed=9)) / 2
    np.testing.assert_allclose(images[1:2], sampler.images(z, [[0.5, 0, 0.5]], dtype="float32"), atol=1e-5)
    with pytest.raises(ValueError, match="steps = 1: give 2 or more"):
        sampler.interpolate((0, 1), (0, 0), steps=1)


def test_threads_that_use_more_truncations_than_are_kept_get_the_images_of_one_thread(config, params):
    sampler = make_sampler(config, params, truncations=(0.5, 1.5))
    truncations = np.linspace(0.5, 1.5, 2 * TRUNCATIONS_KEPT)

    def images(truncation):
        return sampler.sample([0, 1], truncation, seed=3)

    alone = [images(truncation) for truncation in truncations]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(images, [*truncations, *truncations]))
    np.testing.assert_array_equal(together, [*alone, *alone])


def test_float_images_round_to_the_bytes(sampler, ten):
    floats = sampler.images(*ten, dtype="float32")
    assert floats.dtype == np.float32 and np.abs(floats).max() <= 1
    np.testing.assert_array_equal(np.round((floats + 1) * 127.5).astype(np.uint8), sampler.images(*ten))
    with pytest.raises(ValueError, match="dtype = 'float16': choose"):
        sampler.images(*ten, dtype="float16")


@pytest.fixture(scope="module")
def named(config, params):
    names = ("tench, Tinca tinca", "Sandal", "great white shark, white shark")
    exported = prepare_generator(config, params, make_vectors(params))
    return Sampler(dataclasses.replace(exported, class_names=names))


def test_classes_go_by_names_synonyms_and_numbers(named):
    assert named.labels(["sandal", 0, "Tinca Tinca", "white shark"]).tolist() == [1, 0, 0, 2]
    assert named.labels("SANDAL").tolist() == [1] and named.labels(2).tolist() == [2]
    assert named.labels(np.array([2, 1])).tolist() == [2, 1]


def test_unknown_names_are_refused_with_similar_ones(named, sampler):
    with pytest.raises(ValueError, match="'sandals' is unknown; did you mean 'Sandal'"):
        named.labels(["sandals"])
    with pytest.raises(ValueError, match="'shark'.*did you mean 'great white shark, white shark'"):
        named.labels("shark")
    with pytest.raises(ValueError, match="names of these classes are unknown; give numbers"):
        sampler.labels("sandal")


def test_a_sampler_is_shown_by_network_truncations_batch_size_and_devices(named, config, params):
    assert repr(named).startswith(
        f"Sampler(biggan, {SIZE} px, {CLASSES} classes, threshold truncations 0.8, batch size up to "
    )
    statistics = {number / 10: {} for number in range(1, 8)}
    exported = prepare_generator(config, params, make_vectors(params))
    many = Sampler(
        dataclasses.replace(exported, statistics=statistics), batch_size=2, devices=jax.devices()[:2]
    )
    assert repr(many) == (
        f"Sampler(biggan, {SIZE} px, {CLASSES} classes, threshold truncations 0.1, 0.2, 0.3, …, 0.7, "
        "batch size 2, devices cpu:0, cpu:1)"
    )


def test_without_a_batch_size_few_images_take_small_batches_and_are_the_same_but_for_rounding(
    config, params, sampler, ten
):
    free = Sampler(prepare_generator(config, params, make_vectors(params)))
    np.testing.assert_allclose(
        free.images(*ten, dtype="float32"), sampler.images(*ten, dtype="float32"), atol=1e-5
    )


def test_larger_maps_take_smaller_batches():
    small, large = default_config(), default_config()
    small.model.update(resolution=32, attention_resolution=0)
    large.model.resolution, large.model.latent_dim = 512, 128
    sizes = [largest_batch(config.model, jax.devices()[0]) for config in (small, large)]
    assert sizes[0] > sizes[1] >= 1 and all(size & (size - 1) == 0 for size in sizes)
