"""Looking at images through a feature network: in parts, by all processes, with a progress bar.

Each process looks at its share; what they saw is then put together in the order of the images, so that
neither the number of devices nor that of processes changes a score.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np
from rich.console import Console
from rich.progress import Progress

from biggan_jax.evaluation.image_sets import ImageBatch, ImageSet
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.scores import frechet
from biggan_jax.evaluation.scores.frechet import FeatureStatistics, Fid
from biggan_jax.evaluation.scores.inception_score import InceptionScore, InceptionScoreSums
from biggan_jax.evaluation.scores.moments import Moments, merged
from biggan_jax.runtime import processes

AT_ONCE = 256  # images, or as many as the network takes if those are more


@dataclasses.dataclass(frozen=True, eq=False)
class ExtractedFeatures:
    """What a network saw of a set of images.

    Attributes:
      features: f32[N, D].
      logits: f32[N, K], or None if it gives none.
      labels: i32[N], the set's own, or None if it has none.
    """

    features: np.ndarray
    logits: np.ndarray | None
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.features)


ExtractedBatch = tuple[
    ImageBatch, np.ndarray, np.ndarray | None
]  # with features f32[n, D] and logits f32[n, K] or None
BatchObserver = Callable[[ImageBatch, np.ndarray], None]  # of images and their features


def extract_batches(
    network: FeatureNetwork, images: ImageSet, title: str, console: Console
) -> Iterator[ExtractedBatch]:
    """This process's share of the images, part by part, as the network sees them.

    Args:
      network: looks.
      images: the whole set.
      title: of the progress bar.
      console: where the bar goes, if it is a terminal.
    """
    mine = processes.share(images.count)
    size = network.batch_size * -(-AT_ONCE // network.batch_size)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(title, total=len(mine))
        for part in images.batches(mine, size):
            yield (part, *network(part.images))
            progress.advance(bar, len(part.images))


def extract_features(
    network: FeatureNetwork, images: ImageSet, title: str, console: Console, *observers: BatchObserver
) -> ExtractedFeatures:
    """What the network sees of all images, in every process; `observers` see this process's share too.

    Nothing of it stands in memory twice: rows go to their place as they come.
    """
    mine = processes.share(images.count)
    widths = {"features": network.features_dim, "logits": network.logits_classes}
    seen = {kind: np.empty((len(mine), width), np.float32) for kind, width in widths.items() if width}
    if images.labelled:
        seen["labels"] = np.empty(len(mine), np.int32)
    for part, features, logits in extract_batches(network, images, title, console):
        for observe in observers:
            observe(part, features)
        rows = slice(part.start - mine.start, part.start - mine.start + len(part.images))
        for kind, array in (("features", features), ("logits", logits), ("labels", part.labels)):
            if kind in seen:
                seen[kind][rows] = array
    whole = {kind: processes.gather(seen.pop(kind), images.count) for kind in tuple(seen)}
    return ExtractedFeatures(whole["features"], whole.get("logits"), whole.get("labels"))


def statistics(network: FeatureNetwork, images: ImageSet, title: str, console: Console) -> FeatureStatistics:
    """Mean and covariance of the features of all images, in every process; none of them is kept."""
    moments = Moments()
    for _, features, _ in extract_batches(network, images, title, console):
        moments.update(features)
    return merge_across_processes(moments).statistics()


def fid_and_is(
    network: FeatureNetwork, images: ImageSet, reference: FeatureStatistics, title: str, console: Console
) -> tuple[Fid, InceptionScore | None]:
    """FID and IS of all images, in every process; no features are kept.

    IS is None where the network gives no logits.

    Raises:
      UserError: fewer than ten images.
    """
    moments, sums = Moments(), InceptionScoreSums(images.count) if network.logits_classes else None
    for part, features, logits in extract_batches(network, images, title, console):
        moments.update(features)
        if sums:
            sums.update(part.start + np.arange(len(features)), logits)
    if sums:
        total, sums = sums, InceptionScoreSums(images.count)
        for packed in _of_each(total.pack(network.logits_classes)):
            sums.merge(InceptionScoreSums.unpack(packed, images.count))
    return frechet.fid(reference, merge_across_processes(moments).statistics()), sums and sums.score()


def merge_across_processes(moments: Moments) -> Moments:
    """The moments of what all processes saw, in every process."""
    packed = moments.pack()
    # Of few images, some process may have seen none, and doesn't know how wide features are.
    sizes = _of_each(np.array([len(packed)], np.uint32))[:, 0]
    rows = _of_each(np.pad(packed, (0, int(sizes.max()) - len(packed))))
    return merged(Moments.unpack(row[:size]) for row, size in zip(rows, sizes, strict=True))


def _of_each(numbers: np.ndarray) -> np.ndarray:
    """What each process has, `[processes, n]`, in every process."""
    return processes.gather(numbers[None], jax.process_count())
