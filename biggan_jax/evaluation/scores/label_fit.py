"""Fit between the classes of a data set and of a network: blind spots 1 and 2 of the Inception Score.

Images of classes that the network never learnt have a low IS however good they are, and so has a set of few
classes (Barratt & Sharma 2018, arXiv 1801.01973, section 4). IS then says more about the network than about
the samples.
"""

import dataclasses
import math

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.inception_score import ROWS_AT_ONCE, SPLITS, inception_score
from biggan_jax.runtime.errors import UserError

# Real images must fill this share of the network's classes, so that IS can be high: images of ten classes
# fill all ten of a classifier that was trained on them. Samples must fill this share of the classes that real
# images fill. Samples of which half show two of ten classes and half show all ten fill 0.7 to 0.77.
LEAST_FILLED = 0.8
# The network does not know a class of the set if its own classes separate less than this share of the real
# images of the class from other classes. A class that it never learnt is at about 0, the hardest class of
# Fashion-MNIST at 0.65…
KNOWN = 0.25
MOST_UNKNOWN = 0.05  # …and a few per cent of a thousand classes may be hard for a good network.


@dataclasses.dataclass(frozen=True)
class LabelFit:
    """The meaning of IS for a data set and a network.

    Attributes:
      real_entropy: Entropy of the mean prediction over the real images, in nats.
      real_effective_classes: Effective number of classes of the real images, exp of `real_entropy`.
      samples_effective_classes: Effective number of classes of the samples.
      network_classes: Number of classes of the network, the maximum of both.
      agreement: Share of real images whose label is the most frequent one among the other real images with
        the same predicted class.
      mutual_information: Mutual information of label and predicted class of the real images, normalised by
        the mean entropy of both: 0 if they are independent, 1 if each determines the other.
      unknown_classes: Labels of the classes that the network does not separate from others.
      samples_is: Inception Score of `count` samples.
      real_is: Inception Score of `count` real images.
      share: `samples_is` / `real_is`.
      count: Number of samples and of real images.
      meaningful: Whether IS is meaningful for this data set and network.
      flagged: Whether IS is not meaningful, or the samples miss classes.
      sentence: The same in words.
    """

    real_entropy: float
    real_effective_classes: float
    samples_effective_classes: float
    network_classes: int
    agreement: float
    mutual_information: float
    unknown_classes: tuple[int, ...]
    samples_is: float
    real_is: float
    share: float
    count: int
    meaningful: bool
    flagged: bool
    sentence: str


def label_fit(
    real_logits: ArrayLike, real_labels: np.ndarray, samples_logits: ArrayLike, seed: int = 0
) -> LabelFit:
    """Compares the classes of the network with those of the data set and of the samples.

    Args:
      real_logits: Logits of the real images, f[M, C].
      real_labels: Labels of the real images, i[M].
      samples_logits: Logits of the samples, f[N, C].
      seed: Seed of the choice of equally many real images and samples.

    Raises:
      UserError: Fewer than ten samples or real images.
    """
    real_logits, samples_logits = np.asarray(real_logits), np.asarray(samples_logits)
    count = min(len(real_logits), len(samples_logits))
    if count < SPLITS:
        raise UserError(f"comparing Inception Scores needs at least {SPLITS} images, got {count}: give more")
    random = np.random.default_rng(seed)
    orders = [random.permutation(len(logits))[:count] for logits in (real_logits, samples_logits)]
    real_is, samples_is = (
        # All images keep their order: another one makes other splits, and another IS than the table's.
        inception_score(logits if len(logits) == count else logits[order]).mean
        for logits, order in zip((real_logits, samples_logits), orders, strict=True)
    )
    entropies = [_marginal_entropy(logits) for logits in (real_logits, samples_logits)]
    real_effective, samples_effective = map(math.exp, entropies)
    recognised = real_logits.argmax(axis=1)
    recall, agreement = _agreement(real_labels, recognised)
    unknown = tuple(np.flatnonzero(recall < KNOWN).tolist())

    classes, present = real_logits.shape[1], int(np.isfinite(recall).sum())
    used, filled = real_effective / classes, samples_effective / real_effective
    faults = []
    if classes < 2:
        faults.append("the network has a single class, so IS is always 1")
    if used < LEAST_FILLED:
        faults.append(
            f"real images fill {real_effective:.1f} of the {classes} classes of the network, so IS cannot be "
            "high"
        )
    if len(unknown) > MOST_UNKNOWN * present:
        faults.append(f"the network does not know {len(unknown)} of the {present} classes of the data set")
    share = samples_is / real_is
    if faults:
        sentence = f"IS is not meaningful here: {', and '.join(faults)}."
    else:
        sentence = (
            f"IS is meaningful here: {count:,} samples score {samples_is:.2f}, {100 * share:.0f} % of the "
            f"score of as many real images ({real_is:.2f})."
        )
        sizes = {"samples": len(samples_logits), "real images": len(real_logits)}
        larger = [f"{size:,} {name}" for name, size in sizes.items() if size > count]
        if larger:
            sentence += (
                f" The scores of all {' and of all '.join(larger)} differ, because IS depends on the number "
                "of images."
            )
    if filled < LEAST_FILLED:
        sentence += (
            f" The samples miss classes: they fill {samples_effective:.1f} classes of the network, and real "
            f"images fill {real_effective:.1f}."
        )
    return LabelFit(
        real_entropy=entropies[0],
        real_effective_classes=real_effective,
        samples_effective_classes=samples_effective,
        network_classes=classes,
        agreement=agreement,
        mutual_information=mutual_information(real_labels, recognised),
        unknown_classes=unknown,
        samples_is=samples_is,
        real_is=real_is,
        share=share,
        count=count,
        meaningful=not faults,
        flagged=bool(faults) or filled < LEAST_FILLED,
        sentence=sentence,
    )


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Computes the normalised mutual information of two labellings i[N]; 1 if neither varies."""
    joint = _counts(first, second) / len(first)
    one, other = (scipy.special.entr(joint.sum(axis=axis)).sum() for axis in (0, 1))
    shared = one + other - scipy.special.entr(joint).sum()
    return float(2 * shared / (one + other)) if one + other > 0 else 1.0


def _marginal_entropy(logits: np.ndarray) -> float:
    total = np.zeros(logits.shape[1])
    for start in range(0, len(logits), ROWS_AT_ONCE):
        part = np.float64(logits[start : start + ROWS_AT_ONCE])
        total += scipy.special.softmax(part, axis=1).sum(axis=0)
    return float(scipy.special.entr(total / len(logits)).sum())


def _agreement(labels: np.ndarray, recognised: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the shares of images whose predicted class mostly has their label, by label and in total.

    The first is f64[labels], NaN for a label without images. An image has no vote on itself: otherwise a
    predicted class with a single image would always be right.
    """
    counts = _counts(recognised, labels)
    ranked = np.sort(counts, axis=1)
    if counts.shape[1] == 1:
        ranked = np.pad(ranked, ((0, 0), (1, 0)))
    own, first, second = counts[recognised, labels], ranked[recognised, -1], ranked[recognised, -2]
    right = own - 1 > np.where(own == first, second, first)
    total = np.bincount(labels)
    recall = np.full(len(total), np.nan)
    np.divide(np.bincount(labels, right, len(total)), total, out=recall, where=total > 0)
    return recall, float(right.mean())


def _counts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    rows, columns = first.max() + 1, second.max() + 1
    cells = first.astype(np.int64) * columns + second
    return np.bincount(cells, minlength=rows * columns).reshape(rows, columns)
