"""Recognition against brute force, and on samples whose faults are known."""

import numpy as np
import pytest
from blobs import make_blobs

from biggan_jax.evaluation.scores import recognition


@pytest.fixture(scope="module")
def trained(kept):
    return kept[1]


def recognised(trained, samples, labels):
    return recognition.recognised(recognition.confusion(labels, trained.predict(samples)))


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


def test_classes_without_images_have_no_number():
    counts = recognition.confusion(np.array([0, 0, 1], np.int32), np.eye(3, dtype=np.float32))
    np.testing.assert_array_equal(recognition.recognised_by_class(counts), [0.5, 0.0, np.nan])
    assert np.isnan(recognition.recognised(np.zeros((3, 3), int)))


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [([0, 3], "classifier knows 0 to 2"), ([-1, 0], "from -1"), ([0], "1 labels for 2")],
)
def test_labels_that_do_not_fit_the_logits_are_refused(labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        recognition.confusion(np.array(labels, np.int32), np.zeros((2, 3), np.float32))


def test_held_out_real_images_are_recognised_and_those_of_other_classes_than_asked_for_are_not(trained):
    samples, labels = make_blobs(150, seed=3)
    assert recognised(trained, samples, labels) >= 0.97
    assert recognised(trained, samples, (labels + 1) % 3) <= 0.03
    shuffled = np.random.default_rng(0).permutation(labels)
    assert recognised(trained, samples, shuffled) == pytest.approx(1 / 3, abs=0.12)
