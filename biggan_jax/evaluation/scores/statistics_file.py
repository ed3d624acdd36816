"""Files with FID statistics of a reference set: an .npz with `mu` and `sigma`.

TTUR, pytorch-fid and clean-fid write these two arrays. ADM's reference batches hold images and statistics of
spatial features (for sFID) in addition. Files written here also hold the number of images and the name of the
feature network, which other readers ignore.
"""

import io
from pathlib import Path

import numpy as np

from biggan_jax.evaluation.scores.moments import FeatureStatistics
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import write_file
from biggan_jax.runtime.npz import open_npz, read_array

SYMMETRY = 1e-4  # largest difference from the transpose, relative to the largest entry: files may be float32
NEGATIVE = 1e-3  # most negative eigenvalue, relative to the largest


def read_statistics(path: Path, features: int | None = None, network: str | None = None) -> FeatureStatistics:
    """Reads statistics.

    Args:
      path: Path of the .npz file.
      features: Required number of features; None accepts any.
      network: Name and hash of the feature network. A file that names another network is refused.

    Raises:
      UserError: The file is missing, holds no valid statistics, or comes from another network.
    """
    with open_npz(path) as file:
        for key in ("mu", "sigma"):
            if key not in file:
                raise UserError(
                    f"{path} has no '{key}', only {', '.join(file.files) or 'nothing'}: give a file of FID "
                    "statistics (mu and sigma), or the images themselves"
                )
        mean, covariance = (read_array(file, path, key) for key in ("mu", "sigma"))
        count = _count(path, read_array(file, path, "count")) if "count" in file else None
        named = str(read_array(file, path, "network")) if "network" in file else None
    if network is not None and named is not None and named != network:
        raise UserError(f"{path} comes from the network {named}, not {network}: their FIDs do not compare")
    _check(path, mean, covariance, features)
    symmetric = np.asarray(covariance, np.float64)
    return FeatureStatistics(np.asarray(mean, np.float64), (symmetric + symmetric.T) / 2, count)


def write_statistics(path: Path, statistics: FeatureStatistics, network: str) -> None:
    """Writes statistics with the name and hash of the network, atomically.

    Raises:
      UserError: The file cannot be written.
    """
    arrays = {"mu": statistics.mean, "sigma": statistics.covariance, "network": np.array(network)}
    if statistics.count is not None:
        arrays["count"] = np.array(statistics.count)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_file(path, buffer.getvalue())


def _count(path: Path, count: np.ndarray) -> int:
    if count.shape != () or count.dtype.kind not in "iu" or count < 1:
        raise UserError(f"{path}: count is {count.dtype}{list(count.shape)}, must be one positive integer")
    return int(count)


def _check(path: Path, mean: np.ndarray, covariance: np.ndarray, features: int | None) -> None:
    width = len(mean) if mean.ndim == 1 else -1
    if mean.ndim != 1 or covariance.shape != (width, width) or not width:
        raise UserError(
            f"{path}: mean {list(mean.shape)} and covariance {list(covariance.shape)} must be [D] and [D, D]"
        )
    if features is not None and width != features:
        raise UserError(
            f"{path} has {width} features and the network has {features}: the file comes from another network"
        )
    if mean.dtype.kind != "f" or covariance.dtype.kind != "f":
        raise UserError(f"{path}: {mean.dtype} and {covariance.dtype} must be floating-point numbers")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"{path} holds numbers that are not finite: its images or its network were broken")
    largest = abs(covariance).max()
    if abs(covariance - covariance.T).max() > SYMMETRY * largest:
        raise UserError(f"{path}: sigma is not symmetric, so it is no covariance; get the file again")
    eigenvalues = np.linalg.eigvalsh(np.float64(covariance))
    if eigenvalues[0] < -NEGATIVE * eigenvalues[-1]:
        raise UserError(
            f"{path}: sigma has the eigenvalue {eigenvalues[0]:.3g} (largest {eigenvalues[-1]:.3g}), which "
            "no covariance has; get the file again"
        )
