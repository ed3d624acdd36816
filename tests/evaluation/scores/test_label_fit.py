"""The fit of labels: its numbers by hand, and its result for networks whose classes fit or do not."""

import dataclasses

import numpy as np
import pytest

from biggan_jax.evaluation.scores.inception_score import inception_score
from biggan_jax.evaluation.scores.label_fit import label_fit, mutual_information
from biggan_jax.runtime.errors import UserError

SURE = 1e3


def logits_of(classes, network_classes=10):
    return SURE * np.eye(network_classes)[classes]


def labels_of(count=2000, classes=10, seed=0):
    return np.random.default_rng(seed).integers(0, classes, count)


def test_a_network_that_knows_the_set_makes_is_meaningful_and_a_share_of_real_images():
    labels = labels_of()
    found = label_fit(logits_of(labels), labels, logits_of(labels_of(seed=1)))
    assert found.meaningful and not found.flagged
    assert found.real_entropy == pytest.approx(np.log(10), abs=0.01)
    assert found.real_effective_classes == pytest.approx(10, abs=0.1)
    assert (found.agreement, found.mutual_information) == (1, pytest.approx(1))
    assert found.share == pytest.approx(1, abs=0.01)
    assert (
        "2,000 samples score" in found.sentence
        and "100 % of the score of as many real images" in found.sentence
    )


def test_classes_may_have_other_numbers_and_may_be_finer_than_the_sets():
    labels = labels_of()
    finer = 2 * ((labels + 3) % 10) + labels_of(classes=2, seed=5)
    found = label_fit(logits_of(finer, 20), labels, logits_of(labels_of(classes=20, seed=1), 20))
    assert found.meaningful and not found.flagged
    assert found.agreement == 1
    assert found.mutual_information == pytest.approx(2 * np.log(10) / (np.log(10) + np.log(20)), abs=0.01)


def test_a_set_of_two_of_the_networks_classes_makes_is_meaningless():
    labels = labels_of(classes=2)
    found = label_fit(logits_of(labels), labels, logits_of(labels_of(classes=2, seed=1)))
    assert not found.meaningful and found.flagged
    assert found.real_effective_classes == pytest.approx(2, abs=0.01)
    assert "2.0 of the 10 classes of the network" in found.sentence
    assert found.unknown_classes == ()


def test_classes_that_the_network_lacks_are_named():
    labels = labels_of()
    predicted = np.where(
        labels < 8, labels, labels_of(classes=8, seed=3)
    )  # 8 and 9 pass for any of the others
    found = label_fit(logits_of(predicted, 8), labels, logits_of(labels_of(classes=8, seed=1), 8))
    assert found.unknown_classes == (8, 9)
    assert found.flagged and not found.meaningful
    assert found.agreement == pytest.approx(0.8, abs=0.02)
    assert "does not know 2 of the 10 classes of the data set" in found.sentence


def test_agreement_is_not_had_by_a_network_class_for_every_image():
    labels = labels_of(500)
    found = label_fit(logits_of(np.arange(500), 500), labels, logits_of(np.arange(500), 500))
    assert found.agreement == 0


def test_samples_that_leave_classes_out_are_flagged_though_is_is_meaningful():
    labels = labels_of()
    found = label_fit(logits_of(labels), labels, logits_of(labels_of(classes=2, seed=1)))
    assert found.meaningful and found.flagged
    assert found.samples_effective_classes == pytest.approx(2, abs=0.01)
    assert "miss classes" in found.sentence


def test_scores_are_compared_at_equal_counts():
    labels = labels_of(5000)
    noise = np.random.default_rng(0).standard_normal((5000, 10))
    few = label_fit(noise, labels, noise[:100])
    assert few.count == 100
    assert few.share == pytest.approx(1, abs=0.15)  # 5,000 would score a tenth lower or so


def test_the_score_of_all_images_is_that_of_the_table_and_that_of_a_subset_is_explained():
    labels = labels_of(500)
    noise = np.random.default_rng(0).standard_normal((2, 500, 10)) + 3 * np.eye(10)[labels]
    found = label_fit(noise[0], labels, noise[1])
    assert (found.real_is, found.samples_is) == tuple(inception_score(logits).mean for logits in noise)
    assert "number of images" not in found.sentence
    subset = label_fit(noise[0, :100], labels[:100], noise[1]).sentence
    assert "The scores of all 500 samples differ, because IS depends on the number of images." in subset


def test_a_network_of_one_class_has_no_meaningful_is():
    found = label_fit(np.zeros((50, 1)), np.zeros(50, int), np.zeros((50, 1)))
    assert found.flagged and not found.meaningful and "IS is always 1" in found.sentence


def test_mutual_information_is_none_for_independent_labels_and_symmetric():
    first, second = np.repeat([0, 1], 6), np.tile([0, 1, 2], 4)
    assert mutual_information(first, second) == pytest.approx(0, abs=1e-12)
    mixed = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 1])
    assert mutual_information(first, mixed) == pytest.approx(mutual_information(mixed, first))
    assert mutual_information(first, 1 - first) == pytest.approx(1)
    assert mutual_information(np.zeros(4, int), np.zeros(4, int)) == 1


def test_the_same_seed_gives_the_same_numbers():
    labels, noise = labels_of(100), np.random.default_rng(0).standard_normal((100, 10))
    first, second = (dataclasses.asdict(label_fit(noise, labels, noise[:50])) for _ in range(2))
    assert first == second


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="at least 10 images, got 9"):
        label_fit(logits_of(labels_of(50)), labels_of(50), logits_of(labels_of(9)))
