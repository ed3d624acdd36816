"""Teaching the classifier: in a process of its own, on the CPU, with a fixed number of threads.

How a sum is rounded depends on how many threads share it, and training makes a large difference of a small
one. JAX takes a thread for every core, or for every device that a CPU poses as where those are more. In a
process of its own the classifier learns the same whatever the run's devices are, however many, and however
many cores there are; only another set of CPU instructions may round otherwise.

That process reads what to train, and then batch after batch, from its standard input, and writes the weights
to its standard output.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
import optax
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from rich.console import Console
from rich.progress import track

import biggan_jax
from biggan_jax.evaluation.networks.classifier_network import (
    ClassifierNetwork,
    ClassifierSettings,
    LabelledImages,
    Variables,
)

THREADS = 2


def train(
    data: LabelledImages, num_classes: int, settings: ClassifierSettings, console: Console
) -> Variables:
    """The weights and batch norm's averages of a network that has learnt `data`.

    Args:
      data: images u8[N, H, W, 3] and labels.
      num_classes: labels are 0 … num_classes - 1.
      settings: how it is trained.
      console: where the progress bar goes.

    Raises:
      RuntimeError: the process that trains failed, with what it said.
    """
    steps = _steps(settings)
    batches = track(
        _batches(data, settings),
        "the classifier learns",
        total=steps,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    about = {"shape": data[0].shape[1:], "num_classes": num_classes, "settings": dataclasses.asdict(settings)}
    with tempfile.TemporaryFile() as said, _process(said) as process:
        try:
            process.stdin.write(json.dumps(about).encode() + b"\n")
            for images, labels in batches:
                process.stdin.write(images.tobytes() + labels.tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has failed: the exit code and its last words tell how
        weights = process.stdout.read()
        if process.wait():
            said.seek(0)
            lines = said.read().decode(errors="replace").strip()
            raise RuntimeError(
                f"the process that trains the classifier ended with exit code {process.returncode}: {lines}"
            )
    return unflatten_dict(safetensors.numpy.load(weights), sep="/")


def _steps(settings: ClassifierSettings) -> int:
    return max(1, settings.images_seen // settings.batch_size)


def _batches(data: LabelledImages, settings: ClassifierSettings) -> Iterator[LabelledImages]:
    images, labels = data
    random = np.random.default_rng(settings.seed)
    count = _steps(settings) * settings.batch_size
    order = np.concatenate([random.permutation(len(images)) for _ in range(-(-count // len(images)))])
    for rows in order[:count].reshape(-1, settings.batch_size):
        batch = images[rows]
        if settings.random_flip:
            mirrored = random.random(len(rows)) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
        yield batch, labels[rows].astype(np.int32)


@contextlib.contextmanager
def _process(said: BinaryIO) -> Iterator[subprocess.Popen]:
    """The process that trains, which ends with the context; `said` takes what it has to say."""
    # Only what JAX should be told here, not what the run was: each of these could change the result.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    places = [str(Path(biggan_jax.__file__).parent.parent), *filter(None, [kept.get("PYTHONPATH")])]
    own = {"JAX_PLATFORMS": "cpu", "NPROC": str(THREADS), "PYTHONPATH": os.pathsep.join(places)}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=kept | own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,  # Ctrl-C is for the run, which then ends this one
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _make_step(
    network: ClassifierNetwork, optimizer: optax.GradientTransformation, settings: ClassifierSettings
) -> Callable[..., tuple[Variables, optax.OptState]]:
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(
        variables: Variables, opt_state: optax.OptState, images: jax.Array, labels: jax.Array
    ) -> tuple[Variables, optax.OptState]:
        def loss(params: Variables) -> tuple[jax.Array, Variables]:
            (logits, _), averages = network.apply(
                {**variables, "params": params}, images, training=True, mutable=["batch_stats"]
            )
            one_hot = jax.nn.one_hot(labels, network.num_classes)
            targets = optax.smooth_labels(one_hot, settings.label_smoothing)
            return optax.softmax_cross_entropy(logits, targets).mean(), averages

        gradients, averages = jax.grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(gradients, opt_state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **averages}, opt_state

    return step


def main(inputs: BinaryIO, outputs: BinaryIO) -> None:
    """Trains, in the process of its own: batches in, weights out."""
    about = json.loads(inputs.readline())
    settings = ClassifierSettings(**about["settings"] | {"widths": tuple(about["settings"]["widths"])})
    network = ClassifierNetwork(about["num_classes"], settings.widths)
    shape, count = tuple(about["shape"]), settings.batch_size
    optimizer = _optimizer(settings, _steps(settings))
    step = _make_step(network, optimizer, settings)
    variables = jax.jit(network.init)(jax.random.key(settings.seed), np.zeros((1, *shape), np.uint8))
    opt_state = optimizer.init(variables["params"])
    for _ in range(_steps(settings)):
        images = np.frombuffer(_read(inputs, count * math.prod(shape)), np.uint8).reshape(count, *shape)
        labels = np.frombuffer(_read(inputs, 4 * count), np.int32)
        variables, opt_state = step(variables, opt_state, images, labels)
        jax.block_until_ready(variables)
    tensors = {name: np.asarray(x) for name, x in flatten_dict(variables, sep="/").items()}
    outputs.write(safetensors.numpy.save(tensors))
    outputs.flush()


def _read(inputs: BinaryIO, count: int) -> bytes:
    found = inputs.read(count)
    if len(found) < count:
        sys.exit("the run that this trains for is gone")
    return found


def _optimizer(settings: ClassifierSettings, steps: int) -> optax.GradientTransformation:
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


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
