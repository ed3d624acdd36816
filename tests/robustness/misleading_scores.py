"""Scores that would mislead: by classifiers that learnt nothing, and of sets whose scores are known.

  python tests/robustness/misleading_scores.py
  python tests/robustness/misleading_scores.py --rounds=2

Each round draws the numbers of images, classes and features anew. "Refused" is a classifier whose scores
are not meaningful; "survived" one that learnt its classes, or a set with exactly the scores it must have.
"""

import argparse
import sys

import numpy as np
from tally import Tally

from biggan_jax.evaluation.scores import frechet
from biggan_jax.evaluation.scores.competence import measure_classifier
from biggan_jax.evaluation.scores.manifold import manifold
from biggan_jax.evaluation.scores.moments import feature_statistics

ROUNDS = 40
SIZES = (2, 64, 200), (20, 100, 400)  # of features and of images: each pair is compiled once


def main(rounds: int = ROUNDS) -> Tally:
    """Tries classifiers and sets.

    Args:
      rounds: Number of rounds.
    """
    tally = Tally("misleading scores")
    for seed in range(rounds):
        random = np.random.default_rng(seed)
        try_classifiers(tally, random, f"round {seed}")
        try_sets(tally, random, f"round {seed}")
    return tally


def try_classifiers(tally: Tally, random: np.random.Generator, trial: str) -> None:
    """Tries logits that know nothing of the labels, and logits that know them."""
    classes, images = int(random.integers(2, 101)), int(random.integers(100, 5_000))
    frequencies = random.dirichlet(np.full(classes, 2.0))
    labels = random.choice(classes, images, p=frequencies)
    noise = random.standard_normal((images, classes))
    majority = np.eye(classes)[np.full(images, np.bincount(labels).argmax())]
    known = noise + 6 * np.eye(classes)[labels]
    ignorant = {
        "one class": (np.zeros((images, 1)), np.zeros(images, int), 1),
        "noise": (noise, labels, classes),
        "confident noise": (10 * noise, labels, classes),
        "the most frequent class": (5 * majority, labels, classes),
        "the same for all images": (np.zeros((images, classes)), labels, classes),
        "shuffled labels": (known, random.permutation(labels), classes),
        "not finite": (np.full((images, classes), np.nan), labels, classes),
    }
    for name, (logits, truth, number) in ignorant.items():
        fault = measure_classifier(logits, truth).fault(number)
        if fault:
            tally.refused()
        else:
            tally.failed(f"{trial}: {name}: scores by it are meaningful")
    fault = measure_classifier(known, labels).fault(classes)
    tally.check(fault is None, f"{trial}: a classifier of {images} images and {classes} classes: {fault}")


def try_sets(tally: Tally, random: np.random.Generator, trial: str) -> None:
    """Tries copies of real images, whose scores are known."""
    width, count = (int(random.choice(sizes)) for sizes in SIZES)
    real = random.standard_normal((count, width)) * random.exponential() + 10 * random.standard_normal(width)
    real = real.astype(np.float32)
    found = manifold(real, random.permutation(real))
    scores = found.precision, found.recall, found.density, found.coverage
    tally.check(scores == (1, 1, 1, 1), f"{trial}: copies have precision, recall, density, coverage {scores}")
    statistics = feature_statistics(real)
    distances = np.array([frechet.distance(statistics, statistics), frechet.distance_of_features(real, real)])
    zero = not np.signbit(distances).any() and (distances < 1e-5 * np.trace(statistics.covariance)).all()
    tally.check(zero, f"{trial}: copies have an FID of {distances}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="number of rounds")
    sys.exit(main(parser.parse_args().rounds).report())
