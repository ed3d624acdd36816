"""Networks whose scores are not meaningful: one class, nothing learnt, equal features for all images."""

import numpy as np
import pytest
import scipy.stats

from biggan_jax.evaluation.scores.competence import ClassifierTest, fault_of_features, measure_classifier
from biggan_jax.evaluation.scores.moments import FeatureStatistics


def result(labels, right, seed=0, sureness=2.0):
    """The test of a classifier that is right for the first `right` images and never for the others."""
    labels = np.asarray(labels)
    classes = labels.max() + 1
    predicted = np.where(np.arange(len(labels)) < right, labels, (labels + 1) % classes)
    return measure_classifier(sureness * np.eye(classes)[predicted], labels)


def balanced(count=1000, classes=10):
    return np.arange(count) % classes


def test_the_numbers_are_those_of_the_definitions():
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]])
    found = measure_classifier(logits, np.array([0, 0, 0, 1]))
    expected = -np.log([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-3)), 0.5])
    assert (found.images, found.accuracy, found.majority_share) == (4, 0.5, 0.75)
    assert found.loss == pytest.approx(expected.mean())
    assert found.guess_loss == pytest.approx(scipy.stats.entropy([0.75, 0.25]))


def test_a_classifier_that_learnt_its_classes_has_no_fault():
    assert result(balanced(), right=900).fault(10) is None
    assert result(balanced(30, 3), right=27).fault(3) is None  # few images suffice for a good one


def test_one_class_teaches_a_classifier_nothing_although_it_recognises_every_image():
    found = measure_classifier(np.zeros((50, 1)), np.zeros(50, int))
    assert found.accuracy == 1 and "one class" in found.fault(1)
    assert "99.0 %" not in (found.fault(2) or "") and found.fault(
        2
    )  # nor do held-out images of one class of two


def test_a_classifier_at_chance_has_learnt_nothing():
    fault = result(balanced(), right=108, sureness=0.1).fault(10)
    assert "learnt nothing: it recognises 10.8 % of the 1,000 held-out images" in fault
    assert fault.endswith("a guess of the most frequent class is right for 10.0 %")


def test_the_accuracy_is_compared_with_the_most_frequent_class():
    labels = np.repeat([0, 1], [950, 50])
    always_the_first = measure_classifier(np.tile([1.0, 0.0], (1000, 1)), labels)
    assert always_the_first.accuracy == 0.95 and "right for 95.0 %" in always_the_first.fault(2)


def test_a_loss_above_that_of_a_guess_is_a_fault_although_the_accuracy_is_above_chance():
    fault = result(balanced(), right=300, sureness=8.0).fault(10)
    assert "loss on the 1,000 held-out images is 5.6" in fault and "guess by the frequencies" in fault
    assert result(balanced(), right=300, sureness=1.0).fault(10) is None


def test_a_guess_rarely_passes_for_a_classifier():
    random = np.random.default_rng(0)
    labels = balanced(200, 4)
    faults = [
        ClassifierTest(200, (random.integers(0, 4, 200) == labels).mean(), 0.25, 1.0, 1.4).fault(4)
        for _ in range(500)
    ]
    assert sum(fault is None for fault in faults) <= 12  # 1 % of them, and chance


@pytest.mark.parametrize("right", [0, 10, 18, 19, 20, 30])
def test_the_accuracy_passes_where_an_exact_binomial_test_rejects_the_guess(right):
    fault = ClassifierTest(30, right / 30, 1 / 3, 0.5, 1.1).fault(3)
    assert (fault is None) == (scipy.stats.binomtest(right, 30, 1 / 3, "greater").pvalue <= 0.01)


def test_an_untested_classifier_and_a_loss_that_is_not_finite_are_faults():
    assert ClassifierTest().fault(10)
    assert ClassifierTest(1000, 0.9, 0.1, float("nan"), 2.3).fault(10)


def test_equal_features_of_all_real_images_are_a_fault():
    features = np.full((50, 3), 0.1)
    equal = FeatureStatistics(features.mean(axis=0), np.cov(features.T), 50)
    assert "same features for all real images" in fault_of_features(equal)
    features = features + 1e-4 * np.random.default_rng(0).standard_normal((50, 3))
    assert fault_of_features(FeatureStatistics(features.mean(axis=0), np.cov(features.T), 50)) is None
    assert fault_of_features(FeatureStatistics(np.zeros(2), np.zeros((2, 2))))
