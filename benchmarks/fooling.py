"""Evaluates five sets of samples that fool the Inception Score or FID, made of real images.

Examples:
  python -m benchmarks.fooling
  python -m benchmarks.fooling --json

Each set cheats in a way that the Inception Score does not punish (Barratt & Sharma 2018, arXiv 1801.01973,
section 4), with all of its images (full) or with every other image (half). The other half is honest: real
images of Fashion-MNIST that no network has learnt. The evaluation is that of `biggan_jax.evaluate`, by the
networks that the sets fool: the classifier, a classifier that has learnt eight of the ten classes, and one
that averages the features of 8×8 patches. The column `section` names the section of the report for this way
of cheating, and `look here` names the flagged sections. The last two networks flag honest images too, because
the fault is in the network.

The benchmark takes three to five minutes of CPU time.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags
from rich import box
from rich.console import Console
from rich.table import Table

from biggan_jax.data import ArraySource, open_source
from biggan_jax.evaluation import assessment, shuffled_patches
from biggan_jax.evaluation.image_sets import ImageSet, ImagesInMemory, RealImages
from biggan_jax.evaluation.networks import classifier, feature_network
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork, NetworkOutput
from biggan_jax.evaluation.reference import Reference
from biggan_jax.evaluation.scores.features import ExtractedFeatures
from biggan_jax.evaluation.scores.formats import percent, ratio
from biggan_jax.evaluation.scores.moments import feature_statistics
from biggan_jax.evaluation.scores.patch_shuffling import GRID, shuffle_patches
from biggan_jax.runtime import cli

MOST = 10_000  # images of each split; half of the test split takes the place of samples
LACKING = (1, 8)  # trousers and bags, which one network does not learn
TWO = (1, 9)  # trousers and ankle boots


class LabelledImages(NamedTuple):
    """Images with labels.

    Attributes:
      images: u8[N, H, W, 3].
      labels: i32[N].
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
    """The evaluation of one set of samples.

    Attributes:
      sampler: Name of the set.
      strength: Strength of the cheating: full, half, or empty for honest images.
      network: Name of the feature network.
      inception_score: IS of the images.
      share_of_real: IS as a share of the IS of as many real images.
      fid: FID of the images.
      held_out_fid: FID of held-out images.
      section: Number of the section for this way of cheating, or None for honest images.
      flagged: Numbers of the flagged sections.
    """

    sampler: str
    strength: str
    network: str
    inception_score: float | None
    share_of_real: float
    fid: float | None
    held_out_fid: float | None
    section: int | None
    flagged: tuple[int, ...]


def measure(console: Console) -> Iterator[Row]:
    """Yields the evaluation of the honest images and of every set; `console` shows progress."""
    splits = (
        open_source("fashion_mnist_10k", split, resolution=32).in_memory() for split in ("train", "test")
    )
    training, test = (_rows(split, slice(MOST)) for split in splits)
    half = test.num_examples // 2
    held_out, honest = (_rows(test, rows) for rows in (slice(half), slice(half, None)))
    real = LabelledImages(honest.images, honest.labels)
    reference = Reference(training, held_out)
    networks = _networks(training, console)
    evaluate = {name: _evaluator(network, reference, console) for name, network in networks.items()}

    for network in networks:
        yield _row("honest", "", network, None, evaluate[network](real))
    for name, network, section, cheated in _samplers(training, real):
        mixed = LabelledImages(cheated.images.copy(), cheated.labels.copy())
        mixed.images[::2], mixed.labels[::2] = real.images[::2], real.labels[::2]
        for strength, samples in (("full", cheated), ("half", mixed)):
            yield _row(name, strength, network, section, evaluate[network](samples))


def _samplers(
    training: ArraySource, honest: LabelledImages
) -> Iterator[tuple[str, str, int, LabelledImages]]:
    """Yields name, fooled network, section that detects it, and as many samples as honest images."""
    count = len(honest.labels)

    def only(labels: Sequence[int]) -> LabelledImages:
        rows = np.resize(np.flatnonzero(np.isin(honest.labels, labels)), count)
        return LabelledImages(honest.images[rows], honest.labels[rows])

    first = np.array([np.flatnonzero(honest.labels == label)[0] for label in range(training.num_classes)])
    repeated = LabelledImages(honest.images[first[honest.labels]], honest.labels)
    shuffled = LabelledImages(shuffle_patches(honest.images, seed=5), honest.labels)
    yield "classes the network lacks", "eight classes", 1, only(LACKING)
    yield "two classes only", "classifier", 2, only(TWO)
    yield "patches shuffled", "patches", 3, shuffled
    yield "patches shuffled", "classifier", 3, shuffled
    yield "one image a class", "classifier", 4, repeated
    yield "training images", "classifier", 5, LabelledImages(training.images[:count], training.labels[:count])


def _networks(training: ArraySource, console: Console) -> dict[str, FeatureNetwork]:
    def train(images: np.ndarray, labels: np.ndarray, classes: int) -> Classifier:
        some = (images[:1000], labels[:1000])  # the accuracy is not used
        return classifier.train_classifier((images, labels), some, classes, ClassifierSettings(), console)

    console.print("training three networks")
    known = np.setdiff1d(np.arange(training.num_classes), LACKING)
    rows = np.isin(training.labels, known)
    eight = train(training.images[rows], np.searchsorted(known, training.labels[rows]), len(known))
    patches = train(_patches(training.images), np.repeat(training.labels, GRID**2), training.num_classes)

    def bag(images: np.ndarray) -> NetworkOutput:
        logits, features = patches.logits_and_features(_patches(images))
        features, logits = (
            part.reshape(len(images), GRID**2, -1).mean(axis=1) for part in (features, logits)
        )
        return features, logits

    return {
        "classifier": feature_network.from_classifier(
            train(training.images, training.labels, training.num_classes)
        ),
        "eight classes": dataclasses.replace(feature_network.from_classifier(eight), name="eight classes"),
        "patches": feature_network.from_function("patches", bag, training.resolution),
    }


def _patches(images: np.ndarray) -> np.ndarray:
    """Returns the GRID² patches of each image in turn: u8[N · GRID², H / GRID, W / GRID, 3]."""
    n, size = len(images), images.shape[1] // GRID
    return images.reshape(n, GRID, size, GRID, size, 3).swapaxes(2, 3).reshape(-1, size, size, 3)


def _evaluator(
    network: FeatureNetwork, reference: Reference, console: Console
) -> Callable[[LabelledImages], assessment.Assessment]:
    """Returns a function that evaluates samples by a network; features of real images are extracted once."""
    assert reference.held_out is not None

    def extract(images: ImageSet, seed: int) -> tuple[ExtractedFeatures, shuffled_patches.Statistics]:
        collector = shuffled_patches.ShuffledPatchesCollector(network, images.resolution, seed)
        return extract_features(network, images, "features", console, collector), collector.statistics()

    training = extract_features(network, RealImages(reference.training, 0), "features", console)
    statistics = feature_statistics(training.features)
    held_out, real_patches = extract(RealImages(reference.held_out, 0), 0)

    def evaluate(samples: LabelledImages) -> assessment.Assessment:
        features, sample_patches = extract(ImagesInMemory(*samples), 1)
        patches = shuffled_patches.compare_shuffled_patches(network.name, real_patches, sample_patches)
        comparison = assessment.Comparison(statistics, training, held_out, features, patches)
        return assessment.assess(comparison, reference, network.name, network.name == "classifier")

    return evaluate


def _row(
    sampler: str, strength: str, network: str, section: int | None, result: assessment.Assessment
) -> Row:
    score, fid = result.scores[f"is@{network}"], result.scores[f"fid@{network}"]
    return Row(
        sampler,
        strength,
        network,
        score.value,
        score.details["share_of_real"],
        fid.value,
        fid.held_out.value if fid.held_out else None,
        section,
        tuple(section.number for section in result.blind_spots if section.flagged),
    )


def _rows(source: ArraySource, rows: slice) -> ArraySource:
    images, labels = source.images[rows], source.labels[rows]
    return dataclasses.replace(source, images=images, labels=labels, num_examples=len(images))


def table(rows: Sequence[Row]) -> Table:
    """Returns the rows as a table."""
    page = Table(box=box.SIMPLE)
    for column in ("samples", "", "by", "IS", "of real", "FID", "of real", "section", "look here"):
        page.add_column(column, justify="left" if column in ("samples", "", "by") else "right", no_wrap=True)
    for row in rows:
        page.add_row(
            row.sampler,
            row.strength,
            row.network,
            ratio(row.inception_score),
            percent(row.share_of_real, 0),
            ratio(row.fid),
            ratio(row.held_out_fid),
            str(row.section or "–"),
            ", ".join(map(str, row.flagged)) or "–",
        )
    return page


def main(argv: Sequence[str]) -> int:
    """Evaluates and prints; returns the exit code."""
    del argv
    console = Console(highlight=False, stderr=flags.FLAGS.json)
    rows = list(measure(console))
    if flags.FLAGS.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        console.print(table(rows))
    return 0


if __name__ == "__main__":
    # Here, so that the tests can import all benchmarks: their flags share names.
    flags.DEFINE_bool("json", False, "print JSON in place of the table")
    cli.run(main)
