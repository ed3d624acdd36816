"""The Inception Score against its formula, its bounds, and itself in parts."""

import numpy as np
import pytest

from biggan_jax.evaluation.scores.inception_score import InceptionScoreSums, inception_score
from biggan_jax.runtime.errors import UserError


def draw(count, classes=8, seed=0):
    return 3 * np.random.default_rng(seed).standard_normal((count, classes)).astype("f")


def by_formula(logits, splits):
    """exp of the mean KL divergence to the marginal, for consecutive splits."""
    probability = np.exp(np.float64(logits))
    probability /= probability.sum(axis=1, keepdims=True)
    scores = []
    for i in range(splits):
        part = probability[i * len(logits) // splits : (i + 1) * len(logits) // splits]
        scores.append(np.exp((part * np.log(part / part.mean(axis=0))).sum(axis=1).mean()))
    return scores


@pytest.mark.parametrize(("count", "splits"), [(100, 10), (103, 10), (10, 10), (50, 1)])
def test_it_is_the_formula_on_consecutive_splits(count, splits):
    logits = draw(count)
    found, expected = inception_score(logits, splits, shuffle_seed=None), by_formula(logits, splits)
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.std == pytest.approx(np.std(expected), rel=1e-9, abs=1e-12)
    assert (found.count, found.splits) == (count, splits)
    order = np.random.RandomState(2020).permutation(count)
    shuffled = inception_score(logits, splits)
    assert shuffled.mean == pytest.approx(np.mean(by_formula(logits[order], splits)), rel=1e-12)


def test_it_is_the_number_of_classes_at_best_and_one_at_worst():
    sure = 1e3 * np.eye(10)
    assert inception_score(np.tile(sure, (50, 1)), shuffle_seed=None).mean == pytest.approx(10)
    assert inception_score(sure[np.zeros(50, int)]).mean == pytest.approx(1)
    assert inception_score(np.zeros((50, 10))).mean == pytest.approx(1)


def test_samples_that_come_class_by_class_score_as_others_do():
    logits = np.repeat(1e3 * np.eye(10), 200, axis=0)
    assert inception_score(logits, shuffle_seed=None).mean == pytest.approx(1)
    assert inception_score(logits).mean > 9.7


def test_hosts_and_batches_get_the_score_of_all_at_once():
    logits = draw(101)
    whole = inception_score(logits)
    for hosts in (2, 4):
        sums = [InceptionScoreSums(101) for _ in range(hosts)]
        for number in range(0, 101, 7):
            indices = np.arange(101)[number : number + 7]
            sums[number % hosts].update(indices, logits[indices])
        for other in sums[1:]:
            sums[0].merge(other)
        assert sums[0].score().mean == pytest.approx(whole.mean, rel=1e-12)
        assert sums[0].score().std == pytest.approx(whole.std, rel=1e-12)


def test_what_is_packed_for_other_hosts_comes_out_as_it_was_even_of_a_host_that_saw_nothing():
    logits = draw(53)
    whole, nothing = InceptionScoreSums(53), InceptionScoreSums(53)
    whole.update(np.arange(53), logits)
    packed = [sums.pack(classes=8) for sums in (nothing, whole)]
    assert len(packed[0]) == len(packed[1]) and packed[0].dtype == np.uint32
    whole = InceptionScoreSums.unpack(packed[0], 53)
    whole.merge(InceptionScoreSums.unpack(packed[1], 53))
    assert whole.score() == inception_score(logits)


def test_samples_that_are_missing_or_come_twice_are_noticed():
    sums = InceptionScoreSums(20)
    sums.update(np.arange(19), draw(19))
    with pytest.raises(ValueError, match="got 19 samples"):
        sums.score()
    sums.update(np.array([0]), draw(1))
    with pytest.raises(ValueError, match="got 20 samples"):
        sums.score()
    with pytest.raises(ValueError, match="differ in total"):
        sums.merge(InceptionScoreSums(21))


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="9 samples cannot be cut into 10"):
        inception_score(draw(9))
    with pytest.raises(UserError, match="not finite"):
        inception_score(np.full((20, 3), np.nan))
