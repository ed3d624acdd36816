"""What all scores take: features, a row an image, checked once at the door."""

import numpy as np
from numpy.typing import ArrayLike

from biggan_jax.runtime.errors import UserError


def check_features(features: ArrayLike, name: str, least: int = 1) -> np.ndarray:
    """`features` as an array f32 or f64[N, D].

    Args:
      features: one row an image; JAX arrays and half precision too.
      name: what they are of, for the message ("samples", "real images").
      least: rows that the score needs.

    Raises:
      UserError: too few rows, or a number that is none.
      ValueError: not a matrix.
    """
    features = np.asarray(features)
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float32)
    if features.ndim != 2:
        raise ValueError(f"features of {name} have shape {list(features.shape)}, must be [N, D]")
    if len(features) < least:
        raise UserError(f"{len(features)} {name}, but this score takes {least} or more: give more")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(axis=1).sum())
        raise UserError(
            f"the features of {bad:,} of {len(features):,} {name} are not finite (NaN or infinite): look at "
            "these images and at the feature network's weights; a generator that has collapsed to NaN needs "
            "an earlier checkpoint"
        )
    return features


def check_same_width(first: np.ndarray, second: np.ndarray) -> None:
    """Raises ValueError where features of two kinds are about to be compared."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features of {first.shape[1]} and of {second.shape[1]} numbers: of two networks")
