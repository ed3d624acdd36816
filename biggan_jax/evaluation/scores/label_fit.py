"""Does the label set fit the network's? Blind spots 1 and 2 of the Inception Score (Barratt & Sharma 2018,
arXiv 1801.01973, section 4): images of classes that its network never learnt score low however good they are,
and so does a set of few classes. Then IS says more about the network than about the samples.
"""

import dataclasses
import math

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.inception_score import ROWS_AT_ONCE, SPLITS, inception_score
from biggan_jax.runtime.errors import UserError

# Real images must fill this share of the network's classes, so that the top of IS's scale can be reached:
# those of ten classes fill all ten of a classifier that was trained on them. Samples must fill this share of
# what real images fill. Half of them of two of ten classes, half of all ten, come to 0.7 to 0.77.
LEAST_FILLED = 0.8
# A class of the set is unknown to the network if less than this share of its real images can be told from
# other classes by the network's. One it never learnt comes to about 0, the hardest of Fashion-MNIST to 0.65…
KNOWN = 0.25
MOST_UNKNOWN = 0.05  # …and of a thousand, a few per cent may be that hard even so.


@dataclasses.dataclass(frozen=True)
class LabelFit:
    """What IS is worth for this data set and network.

    Attributes:
      real_entropy: of the network's marginal over the real images, in nats.
      real_effective_classes: the same as a number of classes, exp of it.
      samples_effective_classes: of the samples' marginal.
      network_classes: what it would be at most.
      agreement: share of real images whose label is the one that most of the other real images of the same
        network's class have.
      mutual_information: of label and network's class of the real images, normalised by the mean entropy of
        the two: 0 if one says nothing about the other, 1 if each tells the other.
      unknown_classes: labels of the set's classes that the network does not tell from others.
      samples_is: the Inception Score of `count` samples…
      real_is: …and of as many real images.
      share: the first as a share of the second.
      count: how many.
      meaningful: whether IS is meaningful here.
      flagged: it is not, or the samples leave classes out.
      sentence: the same in words.
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
    """Compares the network's classes with the set's, and with what the samples fill.

    Args:
      real_logits: the network's, f[M, C].
      real_labels: the set's own, i[M].
      samples_logits: f[N, C].
      seed: of the draw of equally many real images and samples.

    Raises:
      UserError: fewer than ten images of either.
    """
    real_logits, samples_logits = np.asarray(real_logits), np.asarray(samples_logits)
    count = min(len(real_logits), len(samples_logits))
    if count < SPLITS:
        raise UserError(f"{count} images are too few to compare Inception Scores: give {SPLITS} or more")
    random = np.random.default_rng(seed)
    order = random.permutation(len(real_logits))
    equal = [real_logits[order[:count]], samples_logits[random.permutation(len(samples_logits))[:count]]]
    real_is, samples_is = (inception_score(logits).mean for logits in equal)
    entropies = [_marginal_entropy(logits) for logits in (real_logits, samples_logits)]
    real_effective, samples_effective = map(math.exp, entropies)
    recognised = real_logits.argmax(axis=1)
    recall, agreement = _agreement(real_labels, recognised)
    unknown = tuple(np.flatnonzero(recall < KNOWN).tolist())

    classes, present = real_logits.shape[1], int(np.isfinite(recall).sum())
    used, filled = real_effective / classes, samples_effective / real_effective
    faults = []
    if used < LEAST_FILLED:
        faults.append(
            f"real images fill {real_effective:.1f} of the network's {classes} classes, so that IS cannot be "
            "high"
        )
    if len(unknown) > MOST_UNKNOWN * present:
        faults.append(f"the network does not know {len(unknown)} of the set's {present} classes")
    share = samples_is / real_is
    if faults:
        sentence = f"IS is not meaningful here: {', and '.join(faults)}."
    else:
        sentence = (
            f"IS is meaningful here: {samples_is:.2f}, which is {100 * share:.0f} % of what {count:,} real "
            f"images score ({real_is:.2f})."
        )
    if filled < LEAST_FILLED:
        sentence += (
            f" The samples leave classes out: they fill {samples_effective:.1f} of the network's classes, "
            f"real images {real_effective:.1f}."
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
    """Normalised mutual information of two labellings i[N]; 1 where neither varies."""
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
    """For each label, the share of its images whose network's class is mostly of that label (NaN where there
    are none), and the same for all images.

    An image has no vote on itself: otherwise a network's class with a single image would always be right.
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
