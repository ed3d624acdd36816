"""Statistics files: what is written comes back, what the field writes is read, what is broken is named."""

import numpy as np
import pytest

from biggan_jax.evaluation.scores.frechet import FeatureStatistics
from biggan_jax.evaluation.scores.statistics_file import read_statistics, write_statistics
from biggan_jax.runtime.errors import UserError


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((50, 5))


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "reference.npz", **arrays)
        return tmp_path / "reference.npz"

    return save


def test_what_is_written_comes_back_bit_for_bit(tmp_path, rows):
    path = tmp_path / "kept" / "reference.npz"
    covariance = np.cov(rows, rowvar=False)
    written = FeatureStatistics(rows.mean(axis=0), (covariance + covariance.T) / 2, 50)
    write_statistics(path, written, "inception 0123")
    read = read_statistics(path, features=5, network="inception 0123")
    np.testing.assert_array_equal(read.mean, written.mean)
    np.testing.assert_array_equal(read.covariance, written.covariance)
    assert read.count == 50
    with np.load(path) as file:  # as others read it
        np.testing.assert_array_equal(file["mu"], written.mean)
        np.testing.assert_array_equal(file["sigma"], written.covariance)


def test_a_file_of_mean_and_covariance_alone_is_read_in_float64(save, rows):
    path = save(mu=rows.mean(axis=0).astype("f"), sigma=np.cov(rows, rowvar=False).astype("f"))
    read = read_statistics(path, features=5, network="inception 0123")
    assert (read.mean.dtype, read.covariance.dtype, read.count) == (np.float64, np.float64, None)
    np.testing.assert_allclose(read.covariance, np.cov(rows, rowvar=False), rtol=1e-5, atol=1e-6)


def test_of_an_adm_reference_batch_the_statistics_of_pooled_features_are_read(save, rows):
    spatial = rows[:, :3]
    path = save(
        arr_0=np.zeros((4, 8, 8, 3), np.uint8),
        mu=rows.mean(axis=0),
        sigma=np.cov(rows, rowvar=False),
        mu_s=spatial.mean(axis=0),
        sigma_s=np.cov(spatial, rowvar=False),
    )
    np.testing.assert_array_equal(read_statistics(path).mean, rows.mean(axis=0))
    np.testing.assert_array_equal(read_statistics(path).covariance, np.cov(rows, rowvar=False))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"mu": None}, "has no 'mu', only sigma"),
        ({"mu": np.zeros((5, 1))}, r"must be \[D\] and \[D, D\]"),
        ({"sigma": np.eye(4)}, r"covariance \[4, 4\]"),
        ({"mu": np.zeros(5, int)}, "int64 and float64 must be floating-point"),
        ({"mu": np.full(5, np.nan)}, "not finite"),
        ({"sigma": np.eye(5) + np.eye(5, k=1)}, "not symmetric"),
        ({"sigma": np.diag([1.0, 1, 1, 1, -1])}, "eigenvalue -1"),
        ({"network": np.array("other 4567")}, "other 4567, not inception 0123"),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "3 features and the network has 5"),
        ({"mu": np.array([None])}, "'mu' cannot be read"),
    ],
)
def test_what_is_no_statistics_of_this_network_is_refused(save, change, complaint):
    arrays = {"mu": np.zeros(5), "sigma": np.eye(5)} | change
    path = save(**{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(UserError, match=complaint):
        read_statistics(path, features=5, network="inception 0123")


def test_files_that_are_none_are_refused(tmp_path, save):
    with pytest.raises(UserError, match="there is no file"):
        read_statistics(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("mu, sigma")
    with pytest.raises(UserError, match="no .npz file, or a damaged one"):
        read_statistics(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(UserError, match="holds one array"):
        read_statistics(tmp_path / "one.npy")
    whole = save(mu=np.zeros(5), sigma=np.eye(5)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        read_statistics(tmp_path / "cut.npz")
