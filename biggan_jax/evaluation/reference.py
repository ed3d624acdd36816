"""What samples are compared with: the real images that a generator learns from, and some that it does not.

FID, KID, precision, recall, density and coverage compare with the first, as the field does; what is said of
the samples' classes, shape and variety, and whether they are copies, needs the second, which neither the
generator nor the classifier has seen.
"""

import dataclasses
import re

import jax
from etils import epath
from rich.console import Console

from biggan_jax.data import DataError, Source, open_source
from biggan_jax.evaluation.image_sets import RealImages, load_images, most_in_memory
from biggan_jax.evaluation.networks import classifier as classifiers
from biggan_jax.evaluation.networks import feature_network
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.replicas import Replicas

HELD_OUT = ("validation", "test")  # in this order: ImageNet's "test" has no labels


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images.

    Attributes:
      training: that the generator learns from, and the classifier.
      held_out: of the same kind, that neither has seen; None where there are none.
    """

    training: Source
    held_out: Source | None


def open_reference(
    name: str,
    resolution: int,
    num_classes: int | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    training: Source | None = None,
) -> Reference:
    """Opens both kinds of real images of a data source.

    Args:
      name: as in the config's `data.source`.
      resolution: pixels a side.
      num_classes: of the model, if there is one.
      train_split: what the generator learns from.
      test_split: what it doesn't; None for the source's "validation" or "test", or, if the train split is a
        part that is written like train[:90%], for the rest of it.
      training: the train split, where it is open already.

    Raises:
      UserError: no such source or split; the message names the flag.
    """

    def opened(split: str) -> Source:
        return open_source(name, split, resolution=resolution, num_classes=num_classes)

    if training is None:
        try:
            training = opened(train_split)
        except DataError as error:
            raise UserError(f"--train_split={train_split}: {error}") from error
    if test_split is not None:
        try:
            return Reference(training, opened(test_split))
        except DataError as error:
            raise UserError(f"--test_split={test_split}: {error}") from error
    part = re.fullmatch(r"(\w+)\[:(\d+%?)\]", train_split)
    for split in [f"{part[1]}[{part[2]}:]"] if part else HELD_OUT:
        try:
            return Reference(training, opened(split))
        except DataError:
            continue
    return Reference(training, None)


def open_network(
    spec: str,
    reference: Reference | None,
    resolution: int,
    folder: epath.Path | None,
    settings: ClassifierSettings,
    console: Console,
) -> tuple[FeatureNetwork, Classifier | None]:
    """The feature network that `spec` names, the same in all processes, and the classifier, if it is that.

    Args:
      spec: `classifier`, which learns from the reference if `folder` has none, or as for
        `feature_network.open_feature_network`.
      reference: real images, or None where there are only statistics.
      resolution: pixels a side of the images to come.
      folder: where the classifier is kept; None in all processes but the first.
      settings: of the classifier.
      console: shows progress.

    Raises:
      UserError: there is no such network, no weights for it, or nothing that the classifier could learn from.
    """
    if spec == "classifier":
        if reference is None:
            raise UserError(
                "--network=classifier learns from real images, but --reference has only statistics: give "
                "the network that they are of, such as --network=inception"
            )
        network = obtain_classifier(reference, folder, settings, console)
        return feature_network.from_classifier(network), network
    if jax.process_count() == 1:
        return feature_network.open_feature_network(spec, resolution, console), None
    # One after another on hosts that share a disk: the first may have to download the weights.
    network = None
    for turn in (True, False):
        if turn == (jax.process_index() == 0):
            network = feature_network.open_feature_network(spec, resolution, console)
        Replicas().broadcast(None)
    return network, None


def obtain_classifier(
    reference: Reference, folder: epath.Path | None, settings: ClassifierSettings, console: Console
) -> Classifier:
    """The classifier of the reference, which the first process trains or has kept; the same in all.

    Of a source that does not fit into memory it learns from as large a part as does.

    Raises:
      UserError: no images were held out to measure it by, or the folder cannot be written.
    """
    refuse_without_held_out(reference)
    source, held_out = reference.training, reference.held_out
    trained = None
    if folder is not None:
        most = most_in_memory(source.resolution)
        training, test = (load_images(RealImages(part, most)) for part in (source, held_out))
        trained = classifiers.obtain(training, test, source.num_classes, folder, settings, console)
    return classifiers.broadcast(trained, source.resolution, source.num_classes, settings)


def refuse_without_held_out(reference: Reference) -> None:
    """Raises UserError if there are no real images that the classifier could be measured by."""
    if reference.held_out is None:
        name = reference.training.name
        raise UserError(
            f"the classifier is measured by real images that it did not learn from, and {name} has no split "
            f"{' or '.join(HELD_OUT)}: train with --config.data.split='train[:90%]', which leaves the rest "
            "for this; or, to evaluate, name other images by --test_split or another network by --network"
        )
