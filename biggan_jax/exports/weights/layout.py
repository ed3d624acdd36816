"""From the tensors of a file to the parameters of a network: correspondence, checks and changes of layout.

Each reader says which tensor of its format corresponds to each parameter. All tensors are checked before one
is converted, so that one error lists all faults.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.models.architecture import INITIAL_RESOLUTION
from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.models.parameter_tree import Tree, flatten, unflatten
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import TrainedNetwork

MOST_NAMES = 12  # in one error

ParameterShape = tuple[int, ...]
Convert = Callable[[np.ndarray], np.ndarray]


class Tensor(NamedTuple):
    """One tensor of a file.

    Attributes:
      name: Name in the file.
      shape: Shape in the file.
      convert: Function that converts it to the layout of the parameter.
    """

    name: str
    shape: ParameterShape
    convert: Convert = np.asarray


def generator_shapes(model: ConfigDict) -> tuple[dict[str, ParameterShape], dict[str, ParameterShape]]:
    """Returns the shapes of a generator's parameters and of its standing statistics, by path."""
    z, labels = jnp.zeros((2, model.latent_dim)), jnp.zeros(2, jnp.int32)
    variables = jax.eval_shape(make_generator(model).init, jax.random.key(0), z, labels)
    return _shapes(variables["params"]), _shapes(variables["statistics"])


def discriminator_shapes(model: ConfigDict) -> dict[str, ParameterShape]:
    """Returns the shapes of a discriminator's parameters, by path."""
    images, labels = jnp.zeros((2, model.resolution, model.resolution, 3)), jnp.zeros(2, jnp.int32)
    return _shapes(
        jax.eval_shape(make_discriminator(model).init, jax.random.key(0), images, labels)["params"]
    )


def _shapes(tree: Tree) -> dict[str, ParameterShape]:
    return {path: leaf.shape for path, leaf in flatten(tree).items()}


def collect(
    wanted: Mapping[str, Tensor],
    shapes: Mapping[str, ParameterShape],
    read: Callable[[str], np.ndarray],
    source: str,
    spare: Callable[[str], bool],
) -> dict[str, np.ndarray]:
    """Reads and converts the tensors of a file.

    Args:
      wanted: Tensors by key; leading axes of size 1 are ignored in the comparison of shapes.
      shapes: Shapes of all tensors of the file, by name.
      read: Function that reads a tensor by its name.
      source: Name of the file in errors.
      spare: Function that says whether the file may hold a tensor of this name that is not wanted.

    Returns:
      The tensors in float32, by the keys of `wanted`.

    Raises:
      UserError: If tensors are missing, surplus, of another shape, not floating-point or not finite, or
        variances are negative; the message names them.
    """
    expected = {tensor.name: tensor.shape for tensor in wanted.values()}
    misshapen = (
        f"{name} {list(shapes[name])} in place of {list(shape)}"
        for name, shape in expected.items()
        if name in shapes and _bare(shapes[name]) != _bare(shape)
    )
    refuse(
        source,
        {
            "missing": expected.keys() - shapes.keys(),
            "surplus": (name for name in shapes.keys() - expected.keys() if not spare(name)),
            "of another shape": misshapen,
        },
    )
    arrays, not_floating, infinite, negative = {}, [], [], []
    for key, tensor in wanted.items():
        array = read(tensor.name)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            not_floating.append(tensor.name)
            continue
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            infinite.append(tensor.name)
        elif key.endswith("/variance") and (array < 0).any():
            negative.append(tensor.name)
        arrays[key] = np.array(tensor.convert(array.reshape(tensor.shape)), order="C")
    faults = {
        "not of floating-point numbers": not_floating,
        "not finite": infinite,
        "variances below 0": negative,
    }
    refuse(source, faults)
    return arrays


def refuse(source: str, faults: Mapping[str, Iterable[str]]) -> None:
    """Raises a UserError that lists the names of tensors by fault, unless all lists are empty."""
    problems = []
    for fault, names in faults.items():
        if names := sorted(names):
            rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            problems.append(f"{fault}: {', '.join(names[:MOST_NAMES])}{rest}")
    if problems:
        raise UserError(f"{source} does not hold the tensors of this format ({'; '.join(problems)})")


def parse_layer(path: str) -> tuple[str, str, str, str | None]:
    """Parses the path of a layer in a block: "block_3/norm_1/gain" → `("3", "norm", "1", "gain")`."""
    match = re.fullmatch(r"block_(\d+)/(conv|norm)_(\w+?)(?:/(\w+))?", path)
    if match is None:
        raise ValueError(f"{path} is not the path of a layer in a block")
    block, kind, number, part = match.groups()
    return block, kind, number, part


def _bare(shape: ParameterShape) -> ParameterShape:
    while shape and shape[0] == 1:
        shape = shape[1:]
    return tuple(shape)


def trained_network(arrays: Mapping[str, np.ndarray]) -> TrainedNetwork:
    """Builds a network from parameters under "params/PATH" and vectors under "u/PATH"."""
    params, u = (
        {key.removeprefix(kind): array for key, array in arrays.items() if key.startswith(kind)}
        for kind in ("params/", "u/")
    )
    return TrainedNetwork(unflatten(params), u)


def power_iteration_sigmas(network: TrainedNetwork, unit: Convert) -> dict[str, float]:
    """Returns σ = vᵀWu of each weight after one power iteration from its u, in float64.

    Args:
      network: Weights and their vectors.
      unit: Function by which the code of the format scales a vector to unit length.
    """
    leaves, sigmas = flatten(network.params), {}
    for path, u in network.u.items():
        matrix = leaves[path].reshape(-1, len(u)).astype(np.float64)
        v = unit(matrix @ u)
        sigmas[path] = float(v @ matrix @ unit(v @ matrix))
    return sigmas


def from_torch(shape: ParameterShape) -> tuple[ParameterShape, Convert]:
    """Returns PyTorch's shape of a kernel, outputs first, and the conversion to the layout here."""
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return (outputs, inputs, height, width), lambda weight: weight.transpose(2, 3, 1, 0)
    return shape[::-1], np.transpose


def channels_last(array: np.ndarray) -> np.ndarray:
    """Reorders the outputs of the first linear layer, a feature map: `[…, C·4·4]` → `[…, 4·4·C]`."""
    size = INITIAL_RESOLUTION
    maps = array.reshape(*array.shape[:-1], -1, size, size)
    return np.moveaxis(maps, -3, -1).reshape(array.shape)
