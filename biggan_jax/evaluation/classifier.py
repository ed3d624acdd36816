"""A small residual network that learns a data set's classes in well under a minute on two CPU cores.

It judges samples where no published feature network knows the classes. What it has learnt is kept, by the
hash of its training images, so that the scores of one run are all of the same network.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from absl import logging
from etils import epath
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from rich.console import Console
from rich.progress import track

from biggan_jax.cli import UserError
from biggan_jax.evaluation.on_devices import on_all_devices
from biggan_jax.training.replicas import Replicas
from biggan_jax.training.workdir import write_whole, writing

RECIPE = 1  # part of the cache's key: raised when the network or its training changes in code
COARSEST_STEM = 16  # pixels a side on which the first convolution works
PREDICTION_BATCH = 500  # images on each device

Images = tuple[np.ndarray, np.ndarray]  # u8[N, H, W, 3] and labels i32[N]
Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the classifier is built and trained; the defaults need 45 s of CPU time.

    Attributes:
      widths: channels at 16×16, 8×8 and 4×4; narrow early and wide late is what CPUs compute fastest.
      images_seen: training images in total, so that the time does not depend on the size of the set.
      batch_size: images a step.
      learning_rate: Muon's highest, for the kernels; Adam trains the rest at a third of it.
      weight_decay: of the kernels.
      label_smoothing: share of the target that goes to all classes alike.
      random_flip: mirror half of the images, left to right; as in the training of the generator to be judged.
      seed: of the initial weights and the order.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    images_seen: int = 90_000
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    random_flip: bool = False
    seed: int = 0


class Network(nn.Module):
    """ResNet with pre-activation: one residual block at each resolution below the stem's.

    Resolution is halved by gathering 2×2 pixels into channels (a matrix product, which costs less than a
    convolution with stride).
    """

    num_classes: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, images: jax.Array, training: bool = False) -> tuple[jax.Array, jax.Array]:
        """Logits f32[N, num_classes] and features f32[N, widths[-1]] of images u8[N, H, W, 3]."""
        norm = functools.partial(nn.BatchNorm, use_running_average=not training, momentum=0.9)
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), use_bias=False)
        x = norm(use_bias=False, use_scale=False)(images.astype(jnp.float32))
        x = gather_pixels(x, max(1, x.shape[1] // COARSEST_STEM))
        x = conv(self.widths[0])(x)
        for width in self.widths[1:]:
            x = gather_pixels(nn.relu(norm()(x)), 2)
            x = nn.Dense(width, use_bias=False)(x)
            branch = conv(width)(nn.relu(norm()(x)))
            branch = conv(width)(nn.relu(norm()(branch)))
            x = x + branch
        features = nn.relu(norm()(x)).mean(axis=(1, 2))
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")
        return head(features), features


def gather_pixels(x: jax.Array, size: int) -> jax.Array:
    """Space to depth: [N, H, W, C] → [N, ⌈H/size⌉, ⌈W/size⌉, size² · C], with zeros below and to the right
    where `size` does not divide H or W.
    """
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size), (0, -x.shape[2] % size), (0, 0)))
    n, h, w, c = x.shape
    x = x.reshape(n, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // size, w // size, size * size * c)


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network with what is known of it.

    Attributes:
      variables: parameters and batch norm's averages (flax collections).
      settings: how it was trained.
      resolution: pixels a side of the images it takes; it resizes none.
      num_classes: logits it gives.
      test_images: how many real test images it has labelled…
      test_accuracy: …and the share of them that it labelled rightly.
    """

    variables: Variables
    settings: Settings
    resolution: int
    num_classes: int
    test_images: int = 0
    test_accuracy: float = math.nan

    @functools.cached_property
    def hash(self) -> str:
        """Of the weights, 12 hexadecimal digits: scores compare only if these are equal."""
        digest = hashlib.sha256()
        for name, array in sorted(flatten_dict(self.variables, sep="/").items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()[:12]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The logits f32[N, num_classes] of images u8[N, H, W, 3]."""
        return self.judge(images)[0]

    def features(self, images: np.ndarray) -> np.ndarray:
        """What the last layer sees, f32[N, settings.widths[-1]], of images u8[N, H, W, 3]."""
        return self.judge(images)[1]

    def judge(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once: logits and features.

        Raises:
          ValueError: images of another type or size.
        """
        shape = (self.resolution, self.resolution, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"images are {images.dtype}{list(images.shape)}, must be uint8[N, {str(shape)[1:-1]}]"
            )
        parts = [
            (np.zeros((0, self.num_classes), np.float32), np.zeros((0, self.settings.widths[-1]), np.float32))
        ]
        size = prediction_batch()
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            missing = size - len(batch)  # padded: one compiled size serves all
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
            both = jax.device_get(self._apply(padded))
            parts.append(tuple(part[: len(batch)] for part in both))
        logits, features = zip(*parts, strict=True)
        return np.concatenate(logits), np.concatenate(features)

    @functools.cached_property
    def _apply(self) -> Callable[[np.ndarray], tuple[jax.Array, jax.Array]]:
        network = Network(self.num_classes, self.settings.widths)
        return on_all_devices(network.apply, self.variables)


def prediction_batch() -> int:
    """Images that the classifier takes at once, on all devices of this process together.

    As many on each however many devices there are: so it is the same program on each, and gives the same.
    """
    return PREDICTION_BATCH * len(jax.local_devices())


def obtain(
    training: Images,
    test: Images,
    num_classes: int,
    folder: epath.PathLike,
    settings: Settings,
    console: Console,
) -> Classifier:
    """The classifier of a data set: kept in `folder` from an earlier call with the same arguments, or new.

    Args:
      training: real images u8[N, H, W, 3] and labels i32[N] to learn.
      test: real images and labels that the classifier's accuracy is measured on.
      num_classes: labels are 0 … num_classes - 1.
      folder: where it is kept as `classifier-KEY.safetensors`; is created.
      settings: how it is trained.
      console: where the progress bar goes.

    Raises:
      UserError: there are no images, or the folder cannot be written.
    """
    folder = epath.Path(folder)
    path = folder / f"classifier-{_key(training, test, num_classes, settings)}.safetensors"
    untrained = _untrained(training[0].shape[1], num_classes, settings)
    if path.exists():
        try:
            return _load(path, untrained)
        except Exception as error:  # whatever a damaged file makes safetensors raise
            logging.warning("%s cannot be used (%s): training the classifier anew", path, error)
    for (images, _), name in ((training, "training"), (test, "test")):
        if not len(images):
            raise UserError(f"there are no {name} images for the classifier: choose another split")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)  # before the work, not after it

    console.print(
        f"training the classifier on {len(training[0]):,} real images, once: it is kept as {path}",
        soft_wrap=True,
    )
    trained = learn(training, test, num_classes, settings, console)
    _save(path, trained)
    return trained


def learn(
    training: Images, test: Images, num_classes: int, settings: Settings, console: Console
) -> Classifier:
    """A classifier, trained and measured; arguments as for `obtain`."""
    variables = _train(training, num_classes, settings, console)
    untrained = _untrained(training[0].shape[1], num_classes, settings)
    trained = dataclasses.replace(untrained, variables=variables, test_images=len(test[0]))
    accuracy = float((trained.predict(test[0]).argmax(axis=1) == test[1]).mean())
    return dataclasses.replace(trained, test_accuracy=accuracy)


def shared(
    classifier: Classifier | None, resolution: int, num_classes: int, settings: Settings
) -> Classifier:
    """The first process's classifier, in all of them; in the others it is None."""
    if jax.process_count() == 1:
        return classifier
    given = classifier or _untrained(resolution, num_classes, settings)
    variables = given.variables
    if classifier is None:
        variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
    variables = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(variables))
    images, accuracy = Replicas().tell([given.test_images, given.test_accuracy])
    return dataclasses.replace(given, variables=variables, test_images=images, test_accuracy=accuracy)


def _untrained(resolution: int, num_classes: int, settings: Settings) -> Classifier:
    return Classifier(_shapes(resolution, num_classes, settings), settings, resolution, num_classes)


def _train(data: Images, num_classes: int, settings: Settings, console: Console) -> Variables:
    images, labels = data
    network = Network(num_classes, settings.widths)
    steps = max(1, settings.images_seen // settings.batch_size)
    optimizer = _optimizer(settings, steps)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(
        variables: Variables, opt_state: optax.OptState, images: jax.Array, labels: jax.Array
    ) -> tuple[Variables, optax.OptState]:
        def loss(params: Variables) -> tuple[jax.Array, Variables]:
            (logits, _), averages = network.apply(
                {**variables, "params": params}, images, training=True, mutable=["batch_stats"]
            )
            targets = optax.smooth_labels(jax.nn.one_hot(labels, num_classes), settings.label_smoothing)
            return optax.softmax_cross_entropy(logits, targets).mean(), averages

        gradients, averages = jax.grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(gradients, opt_state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **averages}, opt_state

    variables = jax.jit(network.init)(jax.random.key(settings.seed), images[:1])
    opt_state = optimizer.init(variables["params"])
    random = np.random.default_rng(settings.seed)
    order = np.concatenate(
        [random.permutation(len(images)) for _ in range(-(-steps * settings.batch_size // len(images)))]
    )
    hidden = not console.is_terminal
    for number in track(
        range(steps), "the classifier learns", console=console, transient=True, disable=hidden
    ):
        rows = order[number * settings.batch_size : (number + 1) * settings.batch_size]
        batch = images[rows]
        if settings.random_flip:
            mirrored = random.random(len(rows)) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
        variables, opt_state = step(variables, opt_state, batch, labels[rows])
        jax.block_until_ready(variables)
    return jax.device_get(variables)


def _optimizer(settings: Settings, steps: int) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024): of what was tried, it learnt most in a single epoch."""
    rate = optax.warmup_cosine_decay_schedule(
        settings.learning_rate / 10, settings.learning_rate, warmup_steps=steps // 5, decay_steps=steps
    )

    def kernels(params: Variables) -> Any:
        def matrix(path: tuple[Any, ...], weight: jax.Array) -> Any:
            if weight.ndim < 2 or path[0].key == "head":
                return None
            *inputs, output = range(weight.ndim)
            return optax.contrib.MuonDimensionNumbers(tuple(inputs), output)

        return jax.tree_util.tree_map_with_path(matrix, params)

    return optax.contrib.muon(
        rate,
        weight_decay=settings.weight_decay,
        adam_learning_rate=lambda step: 0.3 * rate(step),
        muon_weight_dimension_numbers=kernels,
    )


def _key(training: Images, test: Images, num_classes: int, settings: Settings) -> str:
    recipe = {"recipe": RECIPE, "num_classes": num_classes, **dataclasses.asdict(settings)}
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for array in (*training, *test):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:12]


def _shapes(resolution: int, num_classes: int, settings: Settings) -> Variables:
    image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.uint8)
    return jax.eval_shape(Network(num_classes, settings.widths).init, jax.random.key(0), image)


def _save(path: epath.Path, classifier: Classifier) -> None:
    about = {
        "hash": classifier.hash,
        "test_images": classifier.test_images,
        "test_accuracy": classifier.test_accuracy,
    }
    tensors = flatten_dict(classifier.variables, sep="/")
    metadata = {name: json.dumps(value) for name, value in about.items()}
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def _load(path: epath.Path, untrained: Classifier) -> Classifier:
    content = path.read_bytes()  # it may be in a bucket, where safetensors opens nothing itself
    tensors = safetensors.numpy.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = {name: json.loads(value) for name, value in header["__metadata__"].items()}
    expected = flatten_dict(untrained.variables, sep="/")
    if {name: x.shape for name, x in tensors.items()} != {name: x.shape for name, x in expected.items()}:
        raise ValueError("its tensors are of another network")
    weights_hash = about.pop("hash")
    classifier = dataclasses.replace(untrained, variables=unflatten_dict(tensors, sep="/"), **about)
    if classifier.hash != weights_hash:
        raise ValueError("its weights are not those that were saved")
    return classifier
