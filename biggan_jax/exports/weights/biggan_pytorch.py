"""Reader of BigGAN-PyTorch, the authors' own release: state dicts G.pth or G_ema.pth, and D.pth.

The files hold undivided weights and u0; the code of the release runs one power iteration from u0 per call.
Its feature maps are C×H×W, which concerns the first linear layer. The condition of a batch norm is [class
embedding, z] there and [z, class embedding] here.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from biggan_jax.exports.weights.biggan_pytorch_model import State, attention_places, count_blocks, infer_model
from biggan_jax.exports.weights.files import read_state
from biggan_jax.exports.weights.freezing import freeze
from biggan_jax.exports.weights.layout import (
    ParameterShape,
    Tensor,
    channels_last,
    collect,
    discriminator_shapes,
    from_torch,
    generator_shapes,
    parse_layer,
    power_iteration_sigmas,
    trained_network,
)
from biggan_jax.models.parameter_tree import Tree, unflatten
from biggan_jax.sampling.exported_generator import ExportedGenerator, TrainedNetwork

FORMAT = "biggan-pytorch"
# Names of the statistics of batch norm: by default, with --cross_replica, and with --mybn.
STATISTICS = (
    {"mean": "stored_mean", "variance": "stored_var"},
    {"mean": "bn.running_mean", "variance": "bn.running_var"},
    {"mean": "bn.stored_mean", "variance": "bn.stored_var"},
)
# With --mybn: number of passes that the statistics are the sum of; 0 if they are averages.
COUNTER = "bn.accumulation_counter"
# Singular values for the logs, further singular vectors (--num_G_SVs), counters of batches.
SPARE = re.compile(r"\.(sv\d+|u[1-9]\d*|num_batches_tracked|accumulation_counter)$")
SMALLEST_LENGTH = 1e-12


class Names(NamedTuple):
    """Names of the modules of a network in the file.

    Attributes:
      blocks: Names of the blocks, by their number here.
      attention: Name of the attention layer; empty for none.
      others: Names of the other layers, by their names here.
    """

    blocks: tuple[str, ...]
    attention: str
    others: Mapping[str, str]


def read_biggan_pytorch(
    generator: Path, discriminator: Path | None = None, *, truncation: float = 0.0, epsilon: float = 1e-5
) -> ExportedGenerator:
    """Reads the state dict of G, and of D for further training.

    Args:
      generator: Path of G_ema.pth, with the averaged weights that samples should come from, or of G.pth.
      discriminator: Path of D.pth.
      truncation: Threshold of the latents that the statistics were gathered with; the file does not record
        it. 0 for untruncated latents, as in training.
      epsilon: Epsilon of batch norm (--BN_eps); the file does not record it.

    Raises:
      UserError: If a file is missing or damaged, the network is not supported, or tensors are missing,
        surplus, of another shape or not finite.
    """
    source, opponent = str(generator), str(discriminator)
    state, sha256 = read_state(generator)
    files, opponent_state = [(generator.name, sha256)], None
    if discriminator is not None:
        opponent_state, sha256 = read_state(discriminator)
        files.append((discriminator.name, sha256))
    model = infer_model(state, opponent_state, source, opponent, epsilon)

    names = _generator_names(state, source)
    params, statistics = generator_shapes(model)
    wanted = _statistics(statistics, names, state)
    for leaf, shape in params.items():
        wanted |= _generator_parameter(leaf, shape, names, state, model)
    arrays = _collect(wanted, state, source)
    undivided = trained_network(arrays)
    frozen, trainable = freeze(undivided, power_iteration_sigmas(undivided, _unit), source)
    return ExportedGenerator(
        model=model,
        params=frozen,
        statistics={truncation: _averages(statistics, arrays)},
        truncation_kind="threshold",
        generator=trainable,
        discriminator=None if opponent_state is None else _discriminator(opponent_state, model, opponent),
        provenance={"format": FORMAT, "files": dict(files)},
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), SMALLEST_LENGTH)


def _collect(wanted: Mapping[str, Tensor], state: State, source: str) -> dict[str, np.ndarray]:
    shapes = {name: tensor.shape for name, tensor in state.items()}
    return collect(wanted, shapes, state.__getitem__, source, lambda name: bool(SPARE.search(name)))


def _generator_names(state: State, source: str) -> Names:
    places = attention_places(state, 1)
    return Names(
        tuple(f"blocks.{index}.0" for index in range(count_blocks(state, source))),
        f"blocks.{places[0]}.1" if places else "",
        {
            "linear": "linear",
            "class_embedding": "shared",
            "norm": "output_layer.0",
            "conv": "output_layer.2",
        },
    )


def _discriminator(state: State, model: ConfigDict, source: str) -> TrainedNetwork:
    depth = 2 if model.architecture == "biggan_deep" else 1
    places = attention_places(state, depth)
    stages = range(count_blocks(state, source))
    names = Names(
        tuple(f"blocks.{stage}.{part}" for stage in stages for part in range(depth)),
        f"blocks.{places[0]}.{depth}" if places else "",
        {"conv": "input_conv", "linear": "linear", "projection": "embed"},
    )
    wanted = {}
    for leaf, shape in discriminator_shapes(model).items():
        wanted |= _parameter(leaf, shape, _module(leaf.rpartition("/")[0], names))
    return trained_network(_collect(wanted, state, source))


def _module(path: str, names: Names) -> str:
    """Returns the name of a module in the file."""
    if path in names.others:
        return names.others[path]
    if path == "attention":
        return names.attention
    if path.startswith("attention/"):
        return path.replace("attention/", f"{names.attention}.")
    block, kind, number, part = parse_layer(path)
    layer = {"conv": "conv", "norm": "bn"}[kind] + {"shortcut": "_sc"}.get(number, number)
    return ".".join([names.blocks[int(block)], layer, *([part] if part else [])])


def _generator_parameter(
    leaf: str, shape: ParameterShape, names: Names, state: State, model: ConfigDict
) -> dict[str, Tensor]:
    module, _, kind = leaf.rpartition("/")
    name = _module(module, names)
    if module == "conv" and (bias := state.get(f"{name}.bias")) is not None:
        shape = (*shape[:-1], max(shape[-1], bias.size))  # all outputs; `freeze` takes three
    tensors = _parameter(leaf, shape, name)
    if module == "linear":
        tensors = {key: _then(tensor, channels_last) for key, tensor in tensors.items()}
    has_condition = "norm_" in module or (module == "linear" and model.architecture == "biggan_deep")
    if kind == "kernel" and has_condition:
        key, embedding = f"params/{leaf}", model.class_embedding_dim
        tensors[key] = _then(tensors[key], lambda kernel: np.roll(kernel, -embedding, axis=0))
    return tensors


def _then(tensor: Tensor, convert: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    return tensor._replace(convert=lambda array: convert(tensor.convert(array)))


def _parameter(leaf: str, shape: ParameterShape, name: str) -> dict[str, Tensor]:
    """Returns the tensors of the file that one parameter needs, by key for `collect`."""
    kind = leaf.rpartition("/")[2]
    if kind != "kernel":
        kind = "weight" if kind == "embedding" else kind
        return {f"params/{leaf}": Tensor(f"{name}.{kind}", shape)}
    torch_shape, convert = from_torch(shape)
    return {
        f"params/{leaf}": Tensor(f"{name}.weight", torch_shape, convert),
        f"u/{leaf}": Tensor(f"{name}.u0", (1, shape[-1]), np.ravel),
    }


def _statistics(shapes: Mapping[str, ParameterShape], names: Names, state: State) -> dict[str, Tensor]:
    last = names.others["norm"]
    kinds = next((k for k in STATISTICS if f"{last}.{k['mean']}" in state), STATISTICS[0])
    wanted = {}
    for leaf, shape in shapes.items():
        module, _, kind = leaf.rpartition("/normalize/")
        name = _module(module, names)
        wanted[f"statistics/{leaf}"] = Tensor(f"{name}.{kinds[kind]}", shape)
        if f"{name}.{COUNTER}" in state:
            wanted[f"passes/{leaf}"] = Tensor(f"{name}.{COUNTER}", (1,))
    return wanted


def _averages(shapes: Mapping[str, ParameterShape], arrays: Mapping[str, np.ndarray]) -> Tree:
    """Returns the statistics, divided by the number of passes if they are sums."""
    averages = {}
    for leaf in shapes:
        passes = arrays.get(f"passes/{leaf}", np.zeros(1, np.float32))
        averages[leaf] = arrays[f"statistics/{leaf}"] / np.where(passes > 0, passes, 1)
    return unflatten(averages)
