"""Training of the classifier in its own process, on the CPU, with a fixed number of threads.

Rounding of a sum depends on the number of threads that share it, and training amplifies small differences.
JAX takes a thread per core, or per simulated device. In its own process the classifier becomes the same for
any devices and any number of cores; only another set of CPU instructions may round differently.

The process reads the settings and then the batches from its standard input, and writes the weights to its
standard output.
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
from typing import IO, Any, BinaryIO, cast

import jax
import numpy as np
import optax
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from rich.console import Console

import biggan_jax
from biggan_jax.evaluation.networks.classifier_network import (
    ClassifierNetwork,
    ClassifierSettings,
    LabelledImages,
    Variables,
)
from biggan_jax.runtime.progress import track

THREADS = 2
COMPILATION_CACHE = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_")


def train(
    data: LabelledImages, num_classes: int, settings: ClassifierSettings, console: Console
) -> Variables:
    """Trains the network and returns its weights and batch norm averages.

    Args:
      data: Images u8[N, H, W, 3] and labels.
      num_classes: Number of classes; labels are 0 … num_classes - 1.
      settings: Settings of the training.
      console: Console for the progress bar.

    Raises:
      RuntimeError: The training process failed; the message holds its output.
    """
    steps = _steps(settings)
    batches = track(
        ((1, batch) for batch in _batches(data, settings)),
        "training the classifier",
        total=steps,
        unit="steps",
        console=console,
        lines=False,
    )
    about = {"shape": data[0].shape[1:], "num_classes": num_classes, "settings": dataclasses.asdict(settings)}
    with tempfile.TemporaryFile() as log, _process(log) as process:
        inputs, outputs = _pipes(process)
        try:
            inputs.write(json.dumps(about).encode() + b"\n")
            for images, labels in batches:
                inputs.write(images.tobytes() + labels.tobytes())
            inputs.close()
        except BrokenPipeError:
            pass  # the process has failed: its exit code and its output state the reason
        weights = outputs.read()
        if process.wait():
            log.seek(0)
            lines = log.read().decode(errors="replace").strip()
            raise RuntimeError(
                f"the training process of the classifier ended with exit code {process.returncode}: {lines}"
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
def _process(log: BinaryIO) -> Iterator[subprocess.Popen]:
    """Starts the training process, which ends with the context and writes its messages to `log`."""
    # Without the JAX settings of the run: each of them could change the result. A compilation cache cannot.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(COMPILATION_CACHE) or not name.startswith(("JAX_", "XLA_"))
    }
    places = [str(Path(biggan_jax.__file__).parent.parent), *filter(None, [kept.get("PYTHONPATH")])]
    own = {"JAX_PLATFORMS": "cpu", "NPROC": str(THREADS), "PYTHONPATH": os.pathsep.join(places)}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=kept | own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for the run, which then ends this process
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in _pipes(process):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _pipes(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """Returns the standard input and the standard output of the training process."""
    assert process.stdin is not None and process.stdout is not None
    return process.stdin, process.stdout


def _make_step(
    network: ClassifierNetwork, optimizer: optax.GradientTransformation, settings: ClassifierSettings
) -> Callable[..., tuple[Variables, optax.OptState]]:
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(
        variables: Variables, opt_state: optax.OptState, images: jax.Array, labels: jax.Array
    ) -> tuple[Variables, optax.OptState]:
        def loss(params: Variables) -> tuple[jax.Array, Variables]:
            (logits, _), averages = cast(
                tuple[tuple[jax.Array, jax.Array], Variables],
                network.apply(
                    {**variables, "params": params}, images, training=True, mutable=["batch_stats"]
                ),
            )
            one_hot = jax.nn.one_hot(labels, network.num_classes)
            targets = optax.smooth_labels(one_hot, settings.label_smoothing)
            return optax.softmax_cross_entropy(logits, targets).mean(), averages

        gradients, averages = jax.grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(gradients, opt_state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **averages}, opt_state

    return step


def main(inputs: BinaryIO, outputs: BinaryIO) -> None:
    """Trains in this process.

    Args:
      inputs: Stream of the settings, and then the batches.
      outputs: Stream for the weights.
    """
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
    content = inputs.read(count)
    if len(content) < count:
        sys.exit("the run that needs this classifier has ended")
    return content


def _optimizer(settings: ClassifierSettings, steps: int) -> optax.GradientTransformation:
    """Returns Muon (Jordan et al. 2024), the best of the optimisers tried for a single epoch."""
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
        muon_weight_dimension_numbers=cast(Any, kernels),
    )


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
