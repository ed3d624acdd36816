"""The scores of the field, of what a network saw: each with how far to trust it, as evaluation.json holds it.

Where real images were held out, they pass for samples too: what they score is what perfect samples would.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biggan_jax.evaluation.networks.extraction import ExtractedFeatures
from biggan_jax.evaluation.scores import frechet, recognition
from biggan_jax.evaluation.scores.diversity import Diversity
from biggan_jax.evaluation.scores.extrapolation import extrapolated
from biggan_jax.evaluation.scores.frechet import FeatureStatistics
from biggan_jax.evaluation.scores.inception_score import SPLITS, inception_score
from biggan_jax.evaluation.scores.kernel import kid
from biggan_jax.evaluation.scores.manifold import manifold
from biggan_jax.evaluation.scores.moments import Moments

MANIFOLD_IMAGES = 10_000  # of each set: distances of all pairs are computed
LEAST_TO_COMPARE = 10  # held-out images: fewer have no scores of their own

Score = dict[str, Any]


def image_scores(
    statistics: FeatureStatistics,
    reference: ExtractedFeatures,
    samples: ExtractedFeatures,
    held_out: ExtractedFeatures | None,
) -> dict[str, Score]:
    """Scores of the images, whatever their labels, by their names without the network's.

    Args:
      statistics: of the reference's features.
      reference: real images that the generator learns from.
      samples: at least ten.
      held_out: real images that it does not learn from, or None.
    """
    found = distance_scores(statistics, samples) | _compare(reference, samples)
    others = {}
    if held_out is not None and len(held_out) >= LEAST_TO_COMPARE:
        others = distance_scores(statistics, held_out) | _compare(reference, held_out)
    for name, score in found.items():
        score["held_out"] = others[name] if name in others else None
    return found


def distance_scores(reference: FeatureStatistics, samples: ExtractedFeatures) -> dict[str, Score]:
    """IS, if there are logits, and FID: all that statistics of the reference suffice for."""
    scores = {}
    if samples.logits is not None:
        score = inception_score(samples.logits)
        scores["is"] = {"value": score.mean, "std": score.std, "splits": SPLITS, "count": score.count}
    found = frechet.fid(reference, features_statistics(samples.features))
    scores["fid"] = as_score(found) | {"extrapolated": extrapolated(reference, samples.features)}
    return scores


def _compare(reference: ExtractedFeatures, samples: ExtractedFeatures) -> dict[str, Score]:
    """KID, precision, recall, density and coverage."""
    random = np.random.default_rng(0)
    count = min(len(reference), len(samples), MANIFOLD_IMAGES)
    equal = [
        features if len(features) == count else features[random.permutation(len(features))[:count]]
        for features in (reference.features, samples.features)
    ]
    overlap = manifold(*equal)
    scores = {"kid": as_score(kid(reference.features, samples.features))}
    for name in ("precision", "recall", "density", "coverage"):
        scores[name] = {"value": getattr(overlap, name), "count": count, "reference_count": count}
    return scores


def class_scores(
    reference: ExtractedFeatures,
    samples: ExtractedFeatures,
    held_out: ExtractedFeatures | None,
    variety: Diversity | None,
    class_names: Sequence[str],
    network: str,
    recognises: bool,
) -> tuple[dict[str, Score], list[dict[str, Any]], list[list[int]] | None]:
    """Scores that need labels: over all classes, a row for each class, and the counts of confusions.

    Args:
      reference: real images that the generator learns from.
      samples: with labels.
      held_out: real images that it does not learn from, or None.
      variety: of the samples' classes, if it was measured.
      class_names: of the reference.
      network: the name that scores end in.
      recognises: whether the network's classes are the reference's.
    """
    classes = len(class_names)
    rows: list[dict[str, Any]] = [
        {"label": label, "name": class_names[label], "num_samples": int(count)}
        for label, count in enumerate(np.bincount(samples.labels, minlength=classes))
    ]
    columns = {
        f"fid@{network}": frechet.per_class(
            reference.features, reference.labels, samples.features, samples.labels, classes
        )
    }
    scores: dict[str, Score] = {}
    counts = None
    if recognises:
        counts = recognition.confusion(samples.labels, samples.logits)
        columns[f"recognised@{network}"] = recognition.recognised_by_class(counts)
        scores["recognised"] = {"value": recognition.recognised(counts), "count": len(samples)}
        if held_out is not None:
            ceiling = recognition.confusion(held_out.labels, held_out.logits)
            columns["test_accuracy"] = recognition.recognised_by_class(ceiling)
            scores["recognised"]["held_out"] = {
                "value": recognition.recognised(ceiling),
                "count": len(held_out),
            }
    if variety is not None:
        columns[f"diversity@{network}"] = variety.ratio
        scores["diversity"] = {
            "value": variety.mean_ratio,
            "count": len(samples),
            "held_out": {"value": 1.0, "count": len(held_out or reference)},
        }
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return scores, rows, None if counts is None else counts.tolist()


def features_statistics(features: np.ndarray) -> FeatureStatistics:
    """Mean and covariance of features f[N, D]."""
    moments = Moments()
    for start in range(0, len(features), 4096):
        moments.update(features[start : start + 4096])
    return moments.statistics()


def as_score(found: Any) -> Score:
    """A score's dataclass as a dictionary."""
    return dataclasses.asdict(found)


def strict(value: Any) -> Any:
    """The same for strict JSON: arrays and tuples are lists, NumPy's numbers Python's, NaN and ∞ null."""
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
