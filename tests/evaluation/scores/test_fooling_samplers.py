"""Five samplers that the Inception Score or FID does not see through, made of real images; for each, the
section that was made for it does, at half strength too, and honest images are flagged by none.
"""

from typing import NamedTuple

import numpy as np
import pytest
from quick_network import QuickNetwork

from biggan_jax.data import arrays, open_source
from biggan_jax.evaluation.scores import frechet
from biggan_jax.evaluation.scores.diversity import diversity
from biggan_jax.evaluation.scores.inception_score import inception_score
from biggan_jax.evaluation.scores.label_fit import label_fit
from biggan_jax.evaluation.scores.memorisation import memorisation
from biggan_jax.evaluation.scores.moments import Moments
from biggan_jax.evaluation.scores.patch_shuffling import (
    network_agreement,
    patch_sensitivity,
    shuffle_patches,
    thumbnails,
)

CLASSES = 10
UNKNOWN = (1, 8)  # trousers and bags
TWO = (1, 9)  # trousers and ankle boots


class Set(NamedTuple):
    images: np.ndarray
    labels: np.ndarray

    def __getitem__(self, rows):
        return Set(self.images[rows], self.labels[rows])


class World(NamedTuple):
    training: Set  # what the generator learnt from, and the network
    reference: Set  # real images that scores compare with
    honest: Set  # real images that pose as samples


@pytest.fixture(scope="module")
def world():
    splits = [open_source("fashion_mnist_10k", split, resolution=32) for split in ("train", "test")]
    train, test = (Set(*arrays(split)) for split in splits)
    return World(train[:3000], test[:1000], test[1000:])


@pytest.fixture(scope="module")
def network(world):
    return QuickNetwork(*world.training)


@pytest.fixture(scope="module")
def lacking(world):
    """A network that never learnt two of the classes."""
    return QuickNetwork(*world.training[~np.isin(world.training.labels, UNKNOWN)])


@pytest.fixture(scope="module")
def bag(world):
    """A network that sees patches, but not where they are."""
    return QuickNetwork(*world.training[:1000], patch=8)


def statistics(features):
    moments = Moments()
    moments.update(features)
    return moments.statistics()


def half(world, sampler):
    """Every other image of the sampler's, honest ones between."""
    mixed = Set(sampler.images.copy(), sampler.labels.copy())
    mixed.images[::2], mixed.labels[::2] = world.honest.images[::2], world.honest.labels[::2]
    return mixed


def only(world, labels):
    """As many images as there are honest ones, of some classes."""
    rows = np.flatnonzero(np.isin(world.honest.labels, labels))
    return world.honest[np.resize(rows, len(world.honest.labels))]


def repeated(world):
    first = np.array([np.flatnonzero(world.honest.labels == label)[0] for label in range(CLASSES)])
    return world.honest[first[world.honest.labels]]


def shuffled(world):
    return Set(shuffle_patches(world.honest.images, seed=5), world.honest.labels)


def copied(world):
    return world.training[: len(world.honest.labels)]


def fid(world, network, sampler):
    reference, found = (network.logits_and_features(x.images)[1] for x in (world.reference, sampler))
    return frechet.fid(statistics(reference), statistics(found))


def score(network, sampler):
    return inception_score(network.logits_and_features(sampler.images)[0]).mean


def assess_labels(world, network, sampler):
    real = network.logits_and_features(world.reference.images)[0]
    return label_fit(real, world.reference.labels, network.logits_and_features(sampler.images)[0])


def assess_shape(world, features, sampler, name="network"):
    sets = (world.reference.images, shuffle_patches(world.reference.images))
    sets += (sampler.images, shuffle_patches(sampler.images, seed=1))
    return patch_sensitivity(name, *(statistics(features(images)) for images in sets))


def assess_diversity(world, network, sampler):
    real, samples = (network.logits_and_features(x.images)[1] for x in (world.reference, sampler))
    return diversity(real, world.reference.labels, samples, sampler.labels, CLASSES)


def assess_memory(world, network, sampler):
    return memorisation(
        *(network.logits_and_features(x.images)[1] for x in (world.training, sampler, world.reference))
    )


def test_honest_images_are_flagged_by_no_section(world, network):
    labels = assess_labels(world, network, world.honest)
    assert labels.meaningful and labels.share == pytest.approx(1, abs=0.05)
    by_layout = assess_shape(world, thumbnails, world.honest, "thumbnails")
    by_network = assess_shape(world, lambda images: network.logits_and_features(images)[1], world.honest)
    sections = [
        labels,
        by_network,
        by_layout,
        network_agreement(by_network, by_layout),
        assess_diversity(world, network, world.honest),
        assess_memory(world, network, world.honest),
    ]
    assert not [section.sentence for section in sections if section.flagged]


@pytest.mark.slow
def test_fid_of_two_halves_of_the_real_set_is_near_its_stated_bias(world, network):
    found = fid(world, network, world.honest)
    assert 0.6 < found.value / found.expected_bias < 1.8


@pytest.mark.slow
@pytest.mark.parametrize("strength", ["full", "half"])
def test_classes_that_the_network_lacks_are_flagged_where_the_score_is_only_low(world, lacking, strength):
    sampler = only(world, UNKNOWN)
    if strength == "half":
        sampler = half(world, sampler)
    assert score(lacking, sampler) < 0.85 * score(lacking, world.honest)
    found = assess_labels(world, lacking, sampler)
    assert found.flagged and not found.meaningful
    assert len(found.unknown_classes) == 2  # they, or classes that they are taken for
    others = Set(*(x[~np.isin(world.reference.labels, UNKNOWN)] for x in world.reference))
    fits = assess_labels(world._replace(reference=others), lacking, others)
    assert fits.unknown_classes == () and fits.meaningful


@pytest.mark.slow
@pytest.mark.parametrize("strength", ["full", "half"])
def test_two_classes_only_are_flagged_where_the_score_is_only_low(world, network, strength):
    """A set of two classes, and one of ten of which two make up more than half."""
    sampler, reference = only(world, TWO), world.reference
    rows = np.flatnonzero(np.isin(reference.labels, TWO))
    if strength == "half":
        sampler = half(world, sampler)
        rows = np.concatenate([rows, rows, rows, rows, np.arange(len(reference.labels))])
    found = assess_labels(world._replace(reference=reference[rows]), network, sampler)
    assert found.real_is < (0.5 if strength == "full" else 0.95) * score(network, world.honest)
    assert found.share == pytest.approx(1, abs=0.1)  # perfect samples
    assert found.flagged and not found.meaningful


@pytest.mark.slow
@pytest.mark.parametrize("strength", ["full", "half"])
def test_samples_of_two_classes_of_the_sets_ten_are_flagged(world, network, strength):
    sampler = only(world, TWO)
    found = assess_labels(world, network, half(world, sampler) if strength == "half" else sampler)
    assert found.flagged and found.meaningful


@pytest.mark.slow
@pytest.mark.parametrize("strength", ["full", "half"])
def test_shuffled_patches_are_flagged_where_score_and_fid_are_those_of_honest_images(world, bag, strength):
    sampler = half(world, shuffled(world)) if strength == "half" else shuffled(world)
    assert score(bag, sampler) == pytest.approx(score(bag, world.honest), rel=1e-9)
    assert fid(world, bag, sampler).value == pytest.approx(fid(world, bag, world.honest).value, rel=1e-9)
    first = assess_shape(world, lambda images: bag.logits_and_features(images)[1], sampler, "bag of patches")
    second = assess_shape(world, thumbnails, sampler, "thumbnails")
    assert first.blind and first.flagged  # the control: this network does not see
    assert second.flagged and not second.blind and second.wholeness < 0.5  # the second network: these samples


@pytest.mark.slow
@pytest.mark.parametrize("strength", ["full", "half"])
def test_a_network_that_sees_shape_finds_that_shuffled_samples_have_none(world, network, strength):
    sampler = half(world, shuffled(world)) if strength == "half" else shuffled(world)
    found = assess_shape(world, lambda images: network.logits_and_features(images)[1], sampler)
    assert found.flagged and found.wholeness < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("strength", ["full", "half"])
def test_one_image_a_class_is_flagged_where_the_score_is_as_high_as_for_honest_images(
    world, network, strength
):
    sampler = half(world, repeated(world)) if strength == "half" else repeated(world)
    assert score(network, sampler) > 0.9 * score(network, world.honest)
    found = assess_diversity(world, network, sampler)
    assert found.flagged
    assert found.mean_ratio < (0.01 if strength == "full" else 0.85)
    assert len(found.poor_classes) >= (10 if strength == "full" else 5)


@pytest.mark.slow
@pytest.mark.parametrize("strength", ["full", "half"])
def test_copies_of_training_images_are_flagged_where_score_and_fid_are_perfect(world, network, strength):
    sampler = half(world, copied(world)) if strength == "half" else copied(world)
    assert score(network, sampler) > 0.95 * score(network, world.honest)
    assert fid(world, network, sampler).value < 1.5 * fid(world, network, world.honest).value
    found = assess_memory(world, network, sampler)
    assert found.flagged
    assert found.suspicious == pytest.approx(1 if strength == "full" else 0.5, abs=0.02)
    row, original = found.samples[0], found.training[0]
    np.testing.assert_array_equal(sampler.images[row], world.training.images[original])
