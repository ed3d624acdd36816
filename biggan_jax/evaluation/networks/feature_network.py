"""Feature networks: functions from images to features and logits, with name, input size and weights hash."""

import dataclasses
import hashlib
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from biggan_jax.evaluation.networks import classifier as classifiers
from biggan_jax.evaluation.networks import inception, inception_weights
from biggan_jax.evaluation.networks.classifier import Classifier
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.paths import user_path
from biggan_jax.runtime.replicas import on_local_devices

NetworkOutput = tuple[np.ndarray, np.ndarray | None]  # features f32[N, D]; logits f32[N, K], or None
NO_RESIZE = "none"  # the resize rule of a network that takes images as they come

CPU_BATCH, ACCELERATOR_BATCH = 16, 64  # images per device
FUNCTION_BATCH = 64


@dataclasses.dataclass(frozen=True)
class NetworkIdentity:
    """The identity of a feature network, which every score carries.

    Attributes:
      network: Name, in which the names of scores end. Networks with different weights never share a name.
      input_size: Pixels a side of its input, or None if it takes images of any size.
      resize: Rule by which images of other sizes are resized, in words.
      weights_hash: Hash of the weights, in hexadecimal digits.
    """

    network: str
    input_size: int | None
    resize: str
    weights_hash: str

    def to_json(self) -> dict[str, Any]:
        """Returns the value of `network` in evaluation.json."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A network from images to features and logits.

    Attributes:
      name: Name, in which the names of scores end. Networks with different weights never share a name.
      input_size: Pixels a side of its input, or None if it takes images of any size.
      resize: Rule by which images of other sizes are resized, in words.
      weights_hash: Hash of the weights, in hexadecimal digits.
      features_dim: Number of features, D.
      logits_classes: Number of logits, K, or None if it has none.
      batch_size: Number of images per call of `compute`.
      compute: Function from u8[batch_size, H, W, 3] to features and logits.
      fault: Reason why scores by the network are not meaningful, or None.
    """

    name: str
    input_size: int | None
    resize: str
    weights_hash: str
    features_dim: int
    logits_classes: int | None
    batch_size: int
    compute: Callable[[np.ndarray], NetworkOutput]
    fault: str | None = None

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        """Returns features f32[N, D] and logits f32[N, K], or None, of images u8[N, H, W, 3].

        The last batch is padded, so that one compiled program serves any number of images.

        Raises:
          ValueError: `images` has another type or shape.
          UserError: An output has an unexpected shape, or is not finite.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images are {images.dtype}{list(images.shape)}, must be uint8[N, H, W, 3]")
        widths = {"features": self.features_dim, "logits": self.logits_classes}
        parts = {kind: [np.zeros((0, width), np.float32)] for kind, width in widths.items() if width}
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            missing = self.batch_size - len(batch)
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
            outputs = dict(zip(widths, self.compute(padded), strict=True))
            for kind in parts:
                parts[kind].append(self._check(kind, outputs[kind], widths[kind])[: len(batch)])
        joined = {kind: np.concatenate(arrays) for kind, arrays in parts.items()}
        return joined["features"], joined.get("logits")

    def _check(self, kind: str, part: np.ndarray | None, width: int | None) -> np.ndarray:
        part = np.asarray(part, np.float32)
        if part.shape != (self.batch_size, width):
            raise UserError(
                f"the network {self.name} returns {kind} of shape {list(part.shape)} for {self.batch_size} "
                f"images, not {[self.batch_size, width]}"
            )
        if not np.isfinite(part).all():
            raise UserError(f"the network {self.name} returns {kind} that are not finite")
        return part

    @property
    def identity(self) -> NetworkIdentity:
        """Identity of the network, which every score carries."""
        return NetworkIdentity(self.name, self.input_size, self.resize, self.weights_hash)


def open_feature_network(spec: str, resolution: int, console: Console) -> FeatureNetwork:
    """Opens a feature network by name; `from_classifier` makes that of the classifier.

    Args:
      spec: `inception`, `inception:PATH` (a .pth or .safetensors file), or `module:function`, as for
        `from_function`.
      resolution: Pixels a side of the images; a function is tried on two of them.
      console: Console for the progress of a download.

    Raises:
      UserError: The name is unknown, or the weights are missing.
    """
    kind, _, rest = spec.partition(":")
    if kind == "inception":
        path = Path(user_path(rest, "--network=inception:")) if rest else None
        return from_inception(inception_weights.obtain(path, console))
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", spec):
        return from_function(spec, _import(spec), resolution)
    raise UserError(
        f"unknown feature network {spec!r}: choose inception, inception:PATH, classifier, or module:function "
        "for your own function"
    )


def from_inception(weights: inception_weights.Weights, batch_size: int | None = None) -> FeatureNetwork:
    """Makes the feature network of Inception-v3, which divides batches among the devices of this process.

    Args:
      weights: Weights from `inception_weights.obtain`.
      batch_size: Number of images on all devices together, a multiple of their number; by default a number
        that suits them.
    """
    devices = jax.local_devices()
    per_device = CPU_BATCH if devices[0].platform == "cpu" else ACCELERATOR_BATCH
    apply = on_local_devices(inception.Inception().apply, weights.variables)
    published = weights.sha256 == inception_weights.SHA256
    return FeatureNetwork(
        name="inception" if published else f"inception-{weights.sha256[:8]}",
        input_size=inception.INPUT_SIZE,
        resize=inception.RESIZE,
        weights_hash=weights.sha256,
        features_dim=inception.FEATURES,
        logits_classes=inception.CLASSES,
        batch_size=batch_size or per_device * len(devices),
        compute=lambda images: jax.device_get(apply(images)),
    )


def from_classifier(classifier: Classifier) -> FeatureNetwork:
    """Makes the feature network of a classifier, which takes images of one size only."""

    def compute(images: np.ndarray) -> NetworkOutput:
        logits, features = classifier.logits_and_features(images)
        return features, logits

    return FeatureNetwork(
        name="classifier",
        input_size=classifier.resolution,
        resize=NO_RESIZE,
        weights_hash=classifier.hash,
        features_dim=classifier.settings.widths[-1],
        logits_classes=classifier.num_classes,
        batch_size=classifiers.prediction_batch(),
        compute=compute,
        fault=classifier.test.fault(classifier.num_classes),
    )


def from_function(name: str, function: Callable[[np.ndarray], Any], resolution: int) -> FeatureNetwork:
    """Makes a feature network from a user's function.

    Args:
      name: Name, in which the names of scores end.
      function: Function from u8[N, H, W, 3] to features [N, D], or to features and logits ([N, D], [N, K]).
        Its attributes `input_size`, `resize` and `weights_hash` enter the scores if they exist. Without
        `weights_hash`, the hash of the file that defines the function is used; it does not depend on weights.
      resolution: Pixels a side of the two images that the function is tried on.

    Raises:
      UserError: The function fails on them, or its outputs have unexpected shapes.
    """

    def compute(images: np.ndarray) -> NetworkOutput:
        try:
            output = function(images)
            features, logits = output if isinstance(output, tuple) else (output, None)
            if logits is not None:
                logits = np.asarray(logits, np.float32)
            return np.asarray(features, np.float32), logits
        except Exception as error:
            kind = f"uint8{list(images.shape)}"
            raise UserError(f"the network {name} fails on {kind}: {type(error).__name__}: {error}") from error

    features, logits = compute(np.zeros((2, resolution, resolution, 3), np.uint8))
    for kind, part in (("features", features), ("logits", logits)):
        if part is not None and (part.ndim != 2 or len(part) != 2):
            raise UserError(
                f"the network {name} returns {kind} of shape {list(part.shape)} for 2 images, not [2, D]"
            )
    return FeatureNetwork(
        name=name,
        input_size=getattr(function, "input_size", None),
        resize=getattr(function, "resize", "the function's own"),
        weights_hash=getattr(function, "weights_hash", None) or _hash_of_code(function),
        features_dim=features.shape[1],
        logits_classes=None if logits is None else logits.shape[1],
        batch_size=FUNCTION_BATCH,
        compute=compute,
    )


def _import(spec: str) -> Callable[[np.ndarray], Any]:
    module, name = spec.split(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise UserError(
            f"the feature network {spec} cannot be imported: {type(error).__name__}: {error}; the module "
            "must be in the current directory, installed, or in $PYTHONPATH"
        ) from error
    if not callable(function):
        raise UserError(f"the feature network {spec} is a {type(function).__name__}, not a function")
    return function


def _hash_of_code(function: Callable[[np.ndarray], Any]) -> str:
    module = importlib.import_module(getattr(function, "__module__", None) or type(function).__module__)
    path = getattr(module, "__file__", None)
    return f"code-{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]}" if path else "unknown"
