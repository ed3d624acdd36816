"""Five samplers that fool the Inception Score or FID, made of real images, and what the judge says of them.

Examples:
  python -m benchmarks.fooling
  python -m benchmarks.fooling --json

Each cheats in one of the ways that the Inception Score lets pass (Barratt & Sharma 2018, arXiv 1801.01973,
section 4), with all of its images (full) and with every other one (half), the rest being honest: real images
of Fashion-MNIST that no network has learnt. They are judged as `biggan_jax.evaluate` judges samples, by the
networks that they fool: the classifier; one that has learnt eight of the ten classes; and one that averages
what it sees of 8×8 patches. `section` is the one that was made for this way of cheating, `look here` those
that are flagged. By the last two networks honest images are flagged too: there the network is what is wrong.

It takes three to five minutes of CPU time.
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
from biggan_jax.evaluation import assessment, scoring, shuffled_patches
from biggan_jax.evaluation.image_sets import ImageSet, ImagesInMemory, RealImages
from biggan_jax.evaluation.networks import classifier, feature_network
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork, NetworkOutput
from biggan_jax.evaluation.reference import Reference
from biggan_jax.evaluation.report.terminal import percent, ratio
from biggan_jax.evaluation.scores.patch_shuffling import GRID, shuffle_patches
from biggan_jax.runtime import cli

MOST = 10_000  # images of each split; half of the test split's pose as samples
LACKING = (1, 8)  # trousers and bags, which one network never learns
TWO = (1, 9)  # trousers and ankle boots


class LabelledImages(NamedTuple):
    """Images u8[N, H, W, 3] and their labels i32[N]."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
    """What is said of one sampler.

    Attributes:
      sampler: its name.
      strength: full, half, or nothing for the honest one.
      network: by which it is judged.
      inception_score: of its images…
      share_of_real: …and as a share of what as many real images score.
      fid: of its images…
      held_out_fid: …and of real ones that were held out.
      section: that was made for it, or None for the honest one.
      flagged: the sections that are flagged.
    """

    sampler: str
    strength: str
    network: str
    inception_score: float
    share_of_real: float
    fid: float
    held_out_fid: float
    section: int | None
    flagged: tuple[int, ...]


def measure(console: Console) -> Iterator[Row]:
    """Judges the honest images and every sampler; progress bars go to `console`."""
    splits = (open_source("fashion_mnist", split, resolution=32).in_memory() for split in ("train", "test"))
    training, test = (_rows(split, slice(MOST)) for split in splits)
    half = test.num_examples // 2
    held_out, honest = (_rows(test, rows) for rows in (slice(half), slice(half, None)))
    real = LabelledImages(honest.images, honest.labels)
    reference = Reference(training, held_out)
    networks = _networks(training, console)
    judges = {name: _judge(network, reference, console) for name, network in networks.items()}

    for network, judge in judges.items():
        yield _row("honest", "", network, None, judge(real))
    for name, network, section, cheated in _samplers(training, real):
        mixed = LabelledImages(cheated.images.copy(), cheated.labels.copy())
        mixed.images[::2], mixed.labels[::2] = real.images[::2], real.labels[::2]
        for strength, samples in (("full", cheated), ("half", mixed)):
            yield _row(name, strength, network, section, judges[network](samples))


def _samplers(
    training: ArraySource, honest: LabelledImages
) -> Iterator[tuple[str, str, int, LabelledImages]]:
    """Name, network that is fooled, section that is not, and as many samples as there are honest images."""
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
    def learn(images: np.ndarray, labels: np.ndarray, classes: int) -> Classifier:
        some = (images[:1000], labels[:1000])  # whose accuracy nobody asks for
        return classifier.train_classifier((images, labels), some, classes, ClassifierSettings(), console)

    console.print("training three networks")
    known = np.setdiff1d(np.arange(training.num_classes), LACKING)
    rows = np.isin(training.labels, known)
    eight = learn(training.images[rows], np.searchsorted(known, training.labels[rows]), len(known))
    patches = learn(_patches(training.images), np.repeat(training.labels, GRID**2), training.num_classes)

    def bag(images: np.ndarray) -> NetworkOutput:
        logits, seen = patches.logits_and_features(_patches(images))
        return tuple(part.reshape(len(images), GRID**2, -1).mean(axis=1) for part in (seen, logits))

    return {
        "classifier": feature_network.from_classifier(
            learn(training.images, training.labels, training.num_classes)
        ),
        "eight classes": dataclasses.replace(feature_network.from_classifier(eight), name="eight classes"),
        "patches": feature_network.from_function("patches", bag, training.resolution),
    }


def _patches(images: np.ndarray) -> np.ndarray:
    """The GRID² patches of each image, one after another: u8[N · GRID², H / GRID, W / GRID, 3]."""
    n, size = len(images), images.shape[1] // GRID
    return images.reshape(n, GRID, size, GRID, size, 3).swapaxes(2, 3).reshape(-1, size, size, 3)


def _judge(
    network: FeatureNetwork, reference: Reference, console: Console
) -> Callable[[LabelledImages], assessment.Assessment]:
    """What judges samples by a network, which has looked at the real images already."""

    def seen(images: ImageSet, seed: int) -> tuple:
        watcher = shuffled_patches.ShuffledPatchesCollector(network, images.resolution, seed)
        return extract_features(network, images, "looking", console, watcher), watcher.statistics()

    training = extract_features(network, RealImages(reference.training, 0), "looking", console)
    statistics = scoring.features_statistics(training.features)
    held_out, real_wholes = seen(RealImages(reference.held_out, 0), 0)

    def judge(samples: LabelledImages) -> assessment.Assessment:
        found, sample_wholes = seen(ImagesInMemory(*samples), 1)
        shapes = shuffled_patches.compare_shuffled_patches(network.name, real_wholes, sample_wholes)
        compared = assessment.Comparison(statistics, training, held_out, found, shapes)
        return assessment.assess(compared, reference, network.name, network.name == "classifier")

    return judge


def _row(sampler: str, strength: str, network: str, section: int | None, said: assessment.Assessment) -> Row:
    score, fid = said.scores[f"is@{network}"], said.scores[f"fid@{network}"]
    return Row(
        sampler,
        strength,
        network,
        score["value"],
        score["share_of_real"],
        fid["value"],
        fid["held_out"]["value"],
        section,
        tuple(found["blind_spot"] for found in said.sections if found["flagged"]),
    )


def _rows(source: ArraySource, rows: slice) -> ArraySource:
    images, labels = source.images[rows], source.labels[rows]
    return dataclasses.replace(source, images=images, labels=labels, num_examples=len(images))


def table(rows: Sequence[Row]) -> Table:
    """The rows as a table."""
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
    """Judges and prints; returns the exit code."""
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
