"""Extraction of features: in batches, by all processes, with a progress bar.

Each process takes its share of the images. The features are gathered in the order of the images, so that
neither the number of devices nor that of processes changes a score.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from rich.console import Console

from biggan_jax.evaluation.image_sets import ImageBatch, ImageSet
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.scores import frechet
from biggan_jax.evaluation.scores.features import ExtractedFeatures
from biggan_jax.evaluation.scores.frechet import Fid
from biggan_jax.evaluation.scores.inception_score import InceptionScore, InceptionScoreSums
from biggan_jax.evaluation.scores.moments import FeatureStatistics, Moments, merged
from biggan_jax.runtime import processes
from biggan_jax.runtime.progress import counting

AT_ONCE = 256  # images, or the network's batch size if that is larger

ExtractedBatch = tuple[
    ImageBatch, np.ndarray, np.ndarray | None
]  # with features f32[n, D] and logits or None
BatchObserver = Callable[[ImageBatch, np.ndarray], None]  # of images and their features


def extract_batches(
    network: FeatureNetwork, images: ImageSet, title: str, console: Console
) -> Iterator[ExtractedBatch]:
    """Yields this process's share of the images, batch by batch, with features and logits.

    Args:
      network: Feature network.
      images: The whole set of images.
      title: Title of the progress bar.
      console: Console for the progress bar, which is shown on terminals only.
    """
    share = processes.share(images.count)
    size = network.batch_size * -(-AT_ONCE // network.batch_size)
    with counting(title, len(share), unit="images", console=console, lines=False) as advance:
        for part in images.batches(share, size):
            yield (part, *network(part.images))
            advance(len(part.images))


def extract_features(
    network: FeatureNetwork, images: ImageSet, title: str, console: Console, *observers: BatchObserver
) -> ExtractedFeatures:
    """Extracts the features of all images, and returns them in every process.

    No array stands in memory twice: rows go to their place as they arrive.

    Args:
      network: Feature network.
      images: The whole set of images.
      title: Title of the progress bar.
      console: Console for the progress bar.
      *observers: Functions that get each batch of this process's share, and its features.
    """
    share = processes.share(images.count)
    widths = {"features": network.features_dim, "logits": network.logits_classes}
    arrays: dict[str, np.ndarray] = {
        kind: np.empty((len(share), width), np.float32) for kind, width in widths.items() if width
    }
    if images.labelled:
        arrays["labels"] = np.empty(len(share), np.int32)
    for part, features, logits in extract_batches(network, images, title, console):
        for observe in observers:
            observe(part, features)
        rows = slice(part.start - share.start, part.start - share.start + len(part.images))
        for kind, array in (("features", features), ("logits", logits), ("labels", part.labels)):
            if kind in arrays:
                arrays[kind][rows] = array
    whole = {kind: processes.gather(arrays.pop(kind), images.count) for kind in tuple(arrays)}
    return ExtractedFeatures(whole["features"], whole.get("logits"), whole.get("labels"))


def extract_statistics(
    network: FeatureNetwork, images: ImageSet, title: str, console: Console
) -> FeatureStatistics:
    """Computes mean and covariance of the features of all images in every process, without keeping features.

    Args:
      network: Feature network.
      images: The whole set of images.
      title: Title of the progress bar.
      console: Console for the progress bar.
    """
    moments = Moments()
    for _, features, _ in extract_batches(network, images, title, console):
        moments.update(features)
    return merge_across_processes(moments).statistics()


def fid_and_is(
    network: FeatureNetwork, images: ImageSet, reference: FeatureStatistics, title: str, console: Console
) -> tuple[Fid, InceptionScore | None]:
    """Computes FID and IS of all images in every process, without keeping features.

    Args:
      network: Feature network.
      images: The whole set of images.
      reference: Statistics of the real images.
      title: Title of the progress bar.
      console: Console for the progress bar.

    Returns:
      FID and IS; IS is None if the network has no logits.

    Raises:
      UserError: Fewer than ten images.
    """
    moments, sums = Moments(), InceptionScoreSums(images.count) if network.logits_classes else None
    for part, features, logits in extract_batches(network, images, title, console):
        moments.update(features)
        if sums and logits is not None:
            sums.update(part.start + np.arange(len(features)), logits)
    if sums:
        total, sums = sums, InceptionScoreSums(images.count)
        for packed in _of_each(total.pack(network.logits_classes or 0)):
            sums.merge(InceptionScoreSums.unpack(packed, images.count))
    return frechet.fid(reference, merge_across_processes(moments).statistics()), sums and sums.score()


def merge_across_processes(moments: Moments) -> Moments:
    """Merges the moments of all processes, and returns them in every process."""
    packed = moments.pack()
    # With few images, a process may have none, and does not know the width of the features.
    sizes = _of_each(np.array([len(packed)], np.uint32))[:, 0]
    rows = _of_each(np.pad(packed, (0, int(sizes.max()) - len(packed))))
    return merged(Moments.unpack(row[:size]) for row, size in zip(rows, sizes, strict=True))


def _of_each(numbers: np.ndarray) -> np.ndarray:
    """Returns the numbers of each process, `[processes, n]`, in every process."""
    return processes.gather(numbers[None], jax.process_count())
