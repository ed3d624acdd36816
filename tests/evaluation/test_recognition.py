"""Recognition and diversity against brute force, and on samples whose faults are known."""

import itertools

import numpy as np
import pytest
from blobs import make_blobs

from biggan_jax.evaluation import recognition


@pytest.fixture(scope="module")
def judge(kept):
    return kept[1]


def scores(judge, samples, labels):
    """Recognised share and diversity by class, relative to real images."""
    real, real_labels = make_blobs(150, seed=2)
    logits, features = judge.judge(samples)
    return (
        recognition.recognised(recognition.confusion(labels, logits)),
        recognition.diversity_by_class(
            recognition.spread(features, labels, 3),
            recognition.spread(judge.features(real), real_labels, 3),
        ),
    )


def test_confusion_counts_what_a_loop_counts():
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 400).astype(np.int32)
    logits = random.standard_normal((400, 5)).astype(np.float32)
    expected = np.zeros((5, 5), int)
    for label, row in zip(labels, logits, strict=True):
        expected[label, max(range(5), key=lambda j: row[j])] += 1
    counts = recognition.confusion(labels, logits)
    np.testing.assert_array_equal(counts, expected)
    hits = [label == row.argmax() for label, row in zip(labels, logits, strict=True)]
    assert recognition.recognised(counts) == pytest.approx(np.mean(hits))
    by_class = [
        np.mean([hit for hit, x in zip(hits, labels, strict=True) if x == label]) for label in range(5)
    ]
    np.testing.assert_allclose(recognition.recognised_by_class(counts), by_class)


def test_spread_is_the_mean_over_all_pairs_of_a_class():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 60).astype(np.int32)
    features = random.standard_normal((60, 7)).astype(np.float32)
    expected = []
    for label in range(4):
        group = features[labels == label].astype(float)
        pairs = itertools.combinations(group, 2)
        expected.append(np.mean([np.sqrt(((a - b) ** 2).sum()) for a, b in pairs]))
    np.testing.assert_allclose(recognition.spread(features, labels, 4), expected, rtol=1e-12)


def test_classes_with_too_few_images_have_no_number():
    labels = np.array([0, 0, 1], np.int32)
    features = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]], np.float32)
    spread = recognition.spread(features, labels, 3)
    np.testing.assert_array_equal(spread, [5.0, np.nan, np.nan])
    counts = recognition.confusion(labels, np.eye(3, dtype=np.float32))
    np.testing.assert_array_equal(recognition.recognised_by_class(counts), [0.5, 0.0, np.nan])
    assert np.isnan(recognition.recognised(np.zeros((3, 3), int)))
    ratios = recognition.diversity_by_class(spread, np.array([10.0, 1.0, 0.0]))
    np.testing.assert_array_equal(ratios, [0.5, np.nan, np.nan])


def test_real_images_that_do_not_vary_give_no_ratio():
    assert np.isnan(recognition.diversity_by_class(np.array([1.0]), np.array([0.0]))).all()


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [([0, 3], "classifier knows 0 to 2"), ([-1, 0], "from -1"), ([0], "1 labels for 2")],
)
def test_labels_that_do_not_fit_the_logits_are_refused(labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        recognition.confusion(np.array(labels, np.int32), np.zeros((2, 3), np.float32))


def test_held_out_real_images_are_recognised_and_as_diverse_as_real_ones(judge):
    recognised, diversity = scores(judge, *make_blobs(150, seed=3))
    assert recognised >= 0.97
    np.testing.assert_allclose(diversity, 1, atol=0.2)


def test_images_of_other_classes_than_asked_for_are_not_recognised(judge):
    samples, labels = make_blobs(150, seed=3)
    assert scores(judge, samples, (labels + 1) % 3)[0] <= 0.03
    shuffled = np.random.default_rng(0).permutation(labels)
    assert scores(judge, samples, shuffled)[0] == pytest.approx(1 / 3, abs=0.12)


def test_one_image_per_class_repeated_is_recognised_but_has_no_diversity(judge):
    samples, labels = make_blobs(150, seed=3)
    recognised, diversity = scores(judge, samples[labels], labels)  # samples 0, 1, 2 are of classes 0, 1, 2
    assert recognised >= 0.97
    assert (diversity < 1e-3).all()


def test_half_of_the_samples_repeated_lowers_diversity_of_that_class_only(judge):
    samples, labels = make_blobs(300, seed=3)
    honest = scores(judge, samples, labels)[1]
    samples[labels == 1] = np.where(
        np.arange(100)[:, None, None, None] < 50, samples[labels == 1][:1], samples[labels == 1]
    )
    diversity = scores(judge, samples, labels)[1]
    assert diversity[1] < 0.85 * honest[1]
    np.testing.assert_allclose(diversity[[0, 2]], honest[[0, 2]], rtol=1e-5)
