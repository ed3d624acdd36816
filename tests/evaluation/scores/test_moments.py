"""Streaming moments against NumPy on everything at once."""

import tracemalloc

import numpy as np
import pytest

from biggan_jax.evaluation.scores.moments import Moments, merged
from biggan_jax.runtime.errors import UserError


def collect(*batches):
    moments = Moments()
    for batch in batches:
        moments.update(batch)
    return moments


def draw(count, width=7, offset=0.0, seed=0):
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, width)) @ random.standard_normal((width, width)) + offset).astype(
        "f"
    )


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_batches_of_any_sizes_give_the_mean_and_covariance_of_all_rows(offset):
    rows = draw(5000, offset=offset)
    found = collect(*np.split(rows, [1, 2, 500, 500, 1600, 4100])).statistics()
    np.testing.assert_allclose(found.mean, rows.mean(axis=0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(np.float64(rows), rowvar=False), rtol=1e-9, atol=1e-9)
    assert found.count == 5000


def test_hosts_that_share_the_rows_get_what_one_host_gets():
    rows = draw(3000)
    whole = collect(rows).statistics()
    for hosts in (2, 4):
        parts = [collect(*np.array_split(rows[host::hosts], 5)) for host in range(hosts)]
        found = merged([*parts, Moments()]).statistics()
        np.testing.assert_allclose(found.covariance, whole.covariance, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-11, atol=1e-12)
        assert found.count == 3000
        assert parts[0].count == len(rows[0::hosts])  # as it was


def test_what_travels_between_hosts_arrives_bit_for_bit():
    moments = collect(draw(100))
    packed = moments.pack()
    assert packed.dtype == np.uint32
    sent, arrived = moments.statistics(), Moments.unpack(packed).statistics()
    np.testing.assert_array_equal(arrived.mean, sent.mean)
    np.testing.assert_array_equal(arrived.covariance, sent.covariance)
    assert arrived.count == 100
    assert Moments.unpack(Moments().pack()).count == 0


def test_a_buffer_that_is_filled_again_does_not_change_what_was_counted():
    buffer = draw(50).astype(np.float64)
    moments, expected = Moments(), np.cov(buffer, rowvar=False)
    moments.update(buffer)
    buffer[:] = 0
    np.testing.assert_allclose(moments.statistics().covariance, expected, rtol=1e-12)


def test_features_do_not_pile_up_in_memory():
    batch, moments = draw(256, width=64), Moments()
    moments.update(batch)
    tracemalloc.start()
    for _ in range(200):
        moments.update(batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert moments.count == 201 * 256
    assert peak < 201 * 256 * 64 * 8 / 5


def test_numbers_that_are_none_are_refused_with_the_share_of_images():
    rows = draw(10)
    rows[3, 2] = np.nan
    with pytest.raises(UserError, match="of 1 of 10 images are not finite"):
        collect(rows)


def test_what_has_no_covariance_or_another_width_is_refused():
    with pytest.raises(UserError, match="at least 2 images, got 1"):
        collect(draw(1)).statistics()
    with pytest.raises(ValueError, match="3 numbers after features of 7"):
        collect(draw(5), draw(5, width=3))
    with pytest.raises(ValueError, match="3 numbers after features of 7"):
        collect(draw(5)).merge(collect(draw(5, width=3)))
    with pytest.raises(ValueError, match="must be"):
        collect(np.zeros(4))
