"""The order of examples and their mirroring, without any TensorFlow."""

import hashlib
import time

import numpy as np
import pytest

from biggan_jax.data import order

PINNED = "15d6b4013c0a9f508a30944e9a7262088616551b7f33dcaa7ccdc369498ea771"


@pytest.mark.parametrize("num_examples", [1, 2, 7, 1000])
def test_each_epoch_has_every_example_once(num_examples):
    for epoch in range(3):
        positions = np.arange(epoch * num_examples, (epoch + 1) * num_examples)
        numbers = order.examples(5, positions, num_examples)
        np.testing.assert_array_equal(np.sort(numbers), np.arange(num_examples))


def test_positions_across_the_end_of_an_epoch_take_from_both_epochs():
    across = order.examples(0, np.arange(70, 230).reshape(2, 80), 100)
    single = [order.examples(0, np.array([position]), 100)[0] for position in range(70, 230)]
    np.testing.assert_array_equal(across.reshape(-1), single)


def test_orders_of_epochs_and_seeds_are_unrelated():
    """Correlations of independent permutations of n are normal with variance 1 / (n - 1)."""
    n = 2000
    identity = np.arange(n)
    orders = [order.permutation(seed, epoch, n) for seed in (0, 1, 2) for epoch in range(5)]
    pairs = [
        np.corrcoef(a, b)[0, 1] * np.sqrt(n - 1)
        for i, a in enumerate([identity, *orders])
        for b in orders[i:]
    ]
    assert len(pairs) == 120
    assert np.max(np.abs(pairs)) < 4.5
    assert 0.8 < np.std(pairs) < 1.2


def test_every_example_is_equally_likely_at_every_place():
    """Pearson's statistic over place × example, as a normal deviate."""
    n, epochs = 10, 5000
    counts = np.zeros((n, n))
    for epoch in range(epochs):
        counts[np.arange(n), order.permutation(7, epoch, n)] += 1
    statistic = np.sum((counts - epochs / n) ** 2) / (epochs / n)
    degrees = (n - 1) ** 2
    assert abs(statistic - degrees) / np.sqrt(2 * degrees) < 4


def test_the_order_never_changes_between_releases():
    """A run that is resumed after an upgrade would otherwise see examples twice and others never."""
    np.testing.assert_array_equal(order.permutation(0, 0, 10), [5, 3, 7, 8, 2, 4, 1, 0, 6, 9])
    first = order.examples(0, np.arange(10_000), 1_281_167)  # of ImageNet
    assert hashlib.sha256(first.astype("<i8").tobytes()).hexdigest() == PINNED
    np.testing.assert_array_equal(order.flips(0, 0, 10).astype(int), [1, 1, 0, 1, 1, 0, 0, 1, 0, 0])


@pytest.mark.parametrize(("start", "count"), [(0, 1), (255, 2), (256, 256), (1000, 777)])
def test_a_flip_depends_on_its_position_alone(start, count):
    np.testing.assert_array_equal(
        order.flips(3, start, count), order.flips(3, 0, 2000)[start : start + count]
    )


def test_half_of_the_images_are_mirrored_independently_of_neighbours_and_seed():
    n = 100_000
    first, second = order.flips(0, 0, n), order.flips(1, 0, n)
    deviate = np.sqrt(n) * 2
    assert abs(first.mean() - 0.5) * deviate < 4
    assert abs((first == second).mean() - 0.5) * deviate < 4
    assert abs((first[1:] == first[:-1]).mean() - 0.5) * deviate < 4


def test_large_and_negative_seeds_are_taken():
    for seed in (2**40, -1):
        assert sorted(order.permutation(seed, 0, 5)) == [0, 1, 2, 3, 4]
        assert order.flips(seed, 0, 300).shape == (300,)


@pytest.mark.parametrize("hosts", [1, 2, 3])
def test_hosts_together_have_the_order_of_one_for_two_epochs(hosts):
    """Each batch is shared out in ranges of its rows, as the pipeline does it; the last batch is ragged."""
    num_examples, batch_size = 100, 12
    rows = np.arange(17 * batch_size).reshape(17, batch_size)  # 204 places
    alone = order.examples(3, rows, num_examples)
    parts = [order.examples(3, part, num_examples) for part in np.split(rows, hosts, axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), alone)
    for epoch in (0, 1):
        places = alone.reshape(-1)[epoch * num_examples : (epoch + 1) * num_examples]
        np.testing.assert_array_equal(np.sort(places), np.arange(num_examples))


def test_any_place_of_a_run_on_imagenet_is_found_in_seconds_without_those_before_it():
    start = time.monotonic()
    order.examples(4, np.arange(10**9, 10**9 + 4096), 1_281_167)
    assert time.monotonic() - start < 3
