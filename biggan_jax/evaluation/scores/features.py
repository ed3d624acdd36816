"""Features, logits and labels of a set of images, and the checks that every score makes of its features."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from biggan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class ExtractedFeatures:
    """The outputs of a feature network for a set of images.

    Attributes:
      features: f32[N, D].
      logits: f32[N, K], or None if the network has no logits.
      labels: Labels of the images, i32[N], or None if the images have none.
    """

    features: np.ndarray
    logits: np.ndarray | None
    labels: np.ndarray | None

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.features)


def check_features(features: ArrayLike, name: str, least: int = 1) -> np.ndarray:
    """Returns `features` as an array f32 or f64[N, D].

    Args:
      features: One row per image. JAX arrays and half precision are converted.
      name: Name of the images in error messages ("samples", "real images").
      least: Smallest number of rows that the score accepts.

    Raises:
      UserError: Fewer rows than `least`, or numbers that are not finite.
      ValueError: `features` is not a matrix.
    """
    features = np.asarray(features)
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float32)
    if features.ndim != 2:
        raise ValueError(f"features of {name} have shape {list(features.shape)}, must be [N, D]")
    if len(features) < least:
        raise UserError(f"this score needs at least {least} {name}, got {len(features)}: give more")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(axis=1).sum())
        raise UserError(
            f"the features of {bad:,} of {len(features):,} {name} are not finite (NaN or infinite): check "
            "these images and the weights of the feature network. If the generator has collapsed to NaN, "
            "choose an earlier checkpoint"
        )
    return features


def check_same_width(first: np.ndarray, second: np.ndarray) -> None:
    """Raises ValueError if two sets of features differ in width, so that they come from two networks."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"the features have {first.shape[1]} and {second.shape[1]} columns: they come from two networks"
        )
