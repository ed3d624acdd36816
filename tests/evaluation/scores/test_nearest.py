"""Nearest neighbours against all distances at once."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from biggan_jax.evaluation.scores import nearest


@pytest.fixture(params=[16, 4096])
def block(request, monkeypatch):
    """Blocks that are filled several times, and one that is not filled once."""
    monkeypatch.setattr(nearest, "LARGEST_BLOCK", request.param)


def draw(count, seed=0, width=9):
    return np.random.default_rng(seed).standard_normal((count, width)).astype("f")


def test_neighbours_are_those_of_the_full_matrix(block):
    queries, references = draw(37), draw(50, seed=1)
    distances, numbers = nearest.nearest(queries, references, 4)
    full = cdist(np.float64(queries), np.float64(references))
    np.testing.assert_array_equal(numbers, full.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :4], rtol=1e-12)


def test_a_row_is_no_neighbour_of_itself_but_its_copy_is(block):
    rows = draw(40)
    full = cdist(np.float64(rows), np.float64(rows))
    np.testing.assert_allclose(nearest.radii(rows, 3)[0], np.sort(full, axis=1)[:, 3], rtol=1e-12)
    rows[7] = rows[31]
    assert nearest.radii(rows, 1)[0][[7, 31]].tolist() == [0, 0]
    distances, numbers = nearest.nearest(rows[[31]], rows, 1, own=np.array([31]))
    assert (distances.item(), numbers.item()) == (0, 7)


def test_a_copy_is_at_distance_zero_however_far_from_the_origin(block):
    references = draw(40) + 300
    distances, numbers = nearest.nearest(references[5:9], references, 1)
    assert distances.tolist() == [[0]] * 4
    assert numbers.ravel().tolist() == [5, 6, 7, 8]


def test_more_neighbours_than_there_are_others_are_refused():
    with pytest.raises(ValueError, match="3 nearest neighbours among 2"):
        nearest.radii(draw(3), 3)
