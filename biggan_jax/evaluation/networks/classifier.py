"""A small residual network that learns the classes of a data set in under a minute on two CPU cores.

It is the feature network for data sets whose classes no published network knows. A trained classifier is kept
beside the run and in the cache, by a hash of its data and settings, so that all scores of a data set come
from one network and no second evaluation trains it again.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from typing import cast

import jax
import numpy as np
import safetensors.numpy
from absl import logging
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from rich.console import Console

from biggan_jax.evaluation.networks.classifier_network import (
    ClassifierNetwork,
    ClassifierSettings,
    LabelledImages,
    Variables,
    variable_shapes,
)
from biggan_jax.evaluation.networks.classifier_training import train
from biggan_jax.evaluation.scores.competence import ClassifierTest, measure_classifier
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import CACHE, write_file, writing
from biggan_jax.runtime.replicas import Replicas, on_local_devices

RECIPE = 2  # part of the cache's key: raised when the network or its training changes in code
PREDICTION_BATCH = 500  # images on each device


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier.

    Attributes:
      variables: Parameters and batch norm averages (flax collections).
      settings: Settings of its training.
      resolution: Pixels a side of its images, which are not resized.
      num_classes: Number of logits.
      test: Result on held-out images.
    """

    variables: Variables
    settings: ClassifierSettings
    resolution: int
    num_classes: int
    test: ClassifierTest = ClassifierTest()

    @functools.cached_property
    def hash(self) -> str:
        """Hash of the weights, 12 hexadecimal digits: scores compare only between equal hashes."""
        digest = hashlib.sha256()
        for name, array in sorted(_flat(self.variables).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:12]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits f32[N, num_classes] of images u8[N, H, W, 3]."""
        return self.logits_and_features(images)[0]

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the inputs of the last layer, f32[N, settings.widths[-1]], for images u8[N, H, W, 3]."""
        return self.logits_and_features(images)[1]

    def logits_and_features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits and features of images u8[N, H, W, 3].

        Raises:
          ValueError: `images` has another type or size.
        """
        shape = (self.resolution, self.resolution, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"images are {images.dtype}{list(images.shape)}, must be uint8[N, {str(shape)[1:-1]}]"
            )
        all_logits = [np.zeros((0, self.num_classes), np.float32)]
        all_features = [np.zeros((0, self.settings.widths[-1]), np.float32)]
        size = prediction_batch()
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            missing = size - len(batch)  # padded: one compiled size serves all
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
            logits, features = jax.device_get(self._apply(padded))
            all_logits.append(logits[: len(batch)])
            all_features.append(features[: len(batch)])
        return np.concatenate(all_logits), np.concatenate(all_features)

    @functools.cached_property
    def _apply(self) -> Callable[[np.ndarray], tuple[jax.Array, jax.Array]]:
        network = ClassifierNetwork(self.num_classes, self.settings.widths)
        return on_local_devices(network.apply, self.variables)


def prediction_batch() -> int:
    """Returns the batch size of the classifier on all devices of this process together.

    The batch per device does not depend on the number of devices, so every device runs the same program and
    the results are equal.
    """
    return PREDICTION_BATCH * len(jax.local_devices())


def obtain(
    training: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    folder: epath.PathLike,
    settings: ClassifierSettings,
    console: Console,
) -> Classifier:
    """Returns the classifier of a data set: from `folder`, from the cache, or trained.

    It is then in both, as `classifier-KEY.safetensors`, with a key of all other arguments.

    Args:
      training: Real images u8[N, H, W, 3] and labels i32[N] to train on.
      test: Held-out images and labels to test it on.
      num_classes: Number of classes; labels are 0 … num_classes - 1.
      folder: Directory that keeps it; is created.
      settings: Settings of the training.
      console: Console for the progress bar.

    Raises:
      UserError: A split is empty, or the folder cannot be written.
    """
    name = f"classifier-{_key(training, test, num_classes, settings)}.safetensors"
    path = epath.Path(folder) / name
    cached = epath.Path(cache_folder("classifiers", name))
    for place in (path, cached):
        if place.exists():
            content = place.read_bytes()  # of a bucket too, which safetensors cannot open
            try:
                classifier = _parse(content, _untrained(training[0].shape[1], num_classes, settings))
            except Exception as error:  # safetensors raises many kinds for a damaged file
                logging.warning(
                    "%s cannot be used (%s): it is replaced from the cache, or trained again", place, error
                )
                continue
            if not classifier.test.images:  # of a version that kept its accuracy alone
                classifier = _tested(classifier, test)
                content = _serialise(classifier)
            _keep(content, path, cached)
            return classifier
    for (images, _), split in ((training, "training"), (test, "test")):
        if not len(images):
            raise UserError(f"the split of {split} images for the classifier is empty: choose another split")
    _create(path.parent)  # fails before the training rather than after it

    console.print(
        f"training the classifier on {len(training[0]):,} real images, once: it is kept as {path} and in the "
        "cache",
        soft_wrap=True,
    )
    trained = train_classifier(training, test, num_classes, settings, console)
    _keep(_serialise(trained), path, cached)
    return trained


def train_classifier(
    training: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    settings: ClassifierSettings,
    console: Console,
) -> Classifier:
    """Trains a classifier and tests it.

    Args:
      training: Images u8[N, H, W, 3] and labels i32[N] to train on.
      test: Held-out images and labels.
      num_classes: Number of classes; labels are 0 … num_classes - 1.
      settings: Settings of the training.
      console: Console for the progress bar.
    """
    variables = train(training, num_classes, settings, console)
    untrained = _untrained(training[0].shape[1], num_classes, settings)
    return _tested(dataclasses.replace(untrained, variables=variables), test)


def broadcast(
    classifier: Classifier | None, resolution: int, num_classes: int, settings: ClassifierSettings
) -> Classifier:
    """Broadcasts the classifier of the first process to all processes.

    Args:
      classifier: The classifier in the first process, None in the others.
      resolution: Pixels a side of its images.
      num_classes: Number of classes.
      settings: Settings of its training.
    """
    if classifier is not None and jax.process_count() == 1:
        return classifier
    template = classifier or _untrained(resolution, num_classes, settings)
    variables = template.variables
    if classifier is None:
        variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
    variables = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(variables))
    test = Replicas().broadcast(dataclasses.astuple(template.test))
    return dataclasses.replace(template, variables=variables, test=ClassifierTest(*test))


def _untrained(resolution: int, num_classes: int, settings: ClassifierSettings) -> Classifier:
    return Classifier(variable_shapes(resolution, num_classes, settings), settings, resolution, num_classes)


def _tested(classifier: Classifier, test: LabelledImages) -> Classifier:
    images, labels = test
    return dataclasses.replace(classifier, test=measure_classifier(classifier.predict(images), labels))


def _key(
    training: LabelledImages, test: LabelledImages, num_classes: int, settings: ClassifierSettings
) -> str:
    recipe = {"recipe": RECIPE, "num_classes": num_classes, **dataclasses.asdict(settings)}
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for array in (*training, *test):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:12]


def _keep(content: bytes, path: epath.Path, cached: epath.Path) -> None:
    """Writes a classifier beside the run and to the cache, where they lack it."""
    if not path.exists() or path.read_bytes() != content:
        _create(path.parent)
        write_file(path, content)
    try:
        if not cached.exists() or cached.read_bytes() != content:
            write_file(cached, content, CACHE, shared=True)  # several runs of a machine may write it at once
    except (UserError, OSError) as error:
        logging.warning("the classifier is not kept in the cache: %s", error)


def _create(folder: epath.Path) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _flat(variables: Variables) -> dict[str, np.ndarray]:
    return cast(dict[str, np.ndarray], flatten_dict(variables, sep="/"))


def _serialise(classifier: Classifier) -> bytes:
    test = {f"test_{name}": value for name, value in dataclasses.asdict(classifier.test).items()}
    about = {"hash": classifier.hash} | test
    metadata = {name: json.dumps(value) for name, value in about.items()}
    return safetensors.numpy.save(_flat(classifier.variables), metadata)


def _parse(content: bytes, untrained: Classifier) -> Classifier:
    tensors = safetensors.numpy.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = {name: json.loads(value) for name, value in header["__metadata__"].items()}
    expected = _flat(untrained.variables)
    if {name: x.shape for name, x in tensors.items()} != {name: x.shape for name, x in expected.items()}:
        raise ValueError("its tensors belong to another network")
    weights_hash = about.pop("hash")
    test = (
        {name.removeprefix("test_"): value for name, value in about.items()} if "test_loss" in about else {}
    )
    classifier = dataclasses.replace(
        untrained, variables=unflatten_dict(tensors, sep="/"), test=ClassifierTest(**test)
    )
    if classifier.hash != weights_hash:
        raise ValueError("its weights differ from those that were saved")
    return classifier
