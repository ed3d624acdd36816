"""From the tensors of a file to the leaves of a network here: which is which, checks, and changes of layout.

A format says for each of our leaves which of its tensors that is. All tensors are checked before one is
converted, so that the person hears of everything that is wrong at once.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from biggan_jax.models.architecture import INITIAL_RESOLUTION
from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import TrainedNetwork

MOST_NAMES = 12

ParameterShape = tuple[int, ...]
Convert = Callable[[np.ndarray], np.ndarray]


class Tensor(NamedTuple):
    """One tensor of a file: its name and shape there, and what makes it a leaf of ours."""

    name: str
    shape: ParameterShape
    convert: Convert = np.asarray


def generator_shapes(model: Any) -> tuple[dict[str, ParameterShape], dict[str, ParameterShape]]:
    """The shapes of the generator's parameters and of its batch norms' statistics, by path."""
    z, labels = jnp.zeros((2, model.latent_dim)), jnp.zeros(2, jnp.int32)
    variables = jax.eval_shape(make_generator(model).init, jax.random.key(0), z, labels)
    return _shapes(variables["params"]), _shapes(variables["statistics"])


def discriminator_shapes(model: Any) -> dict[str, ParameterShape]:
    """The shapes of the discriminator's parameters, by path."""
    images, labels = jnp.zeros((2, model.resolution, model.resolution, 3)), jnp.zeros(2, jnp.int32)
    return _shapes(
        jax.eval_shape(make_discriminator(model).init, jax.random.key(0), images, labels)["params"]
    )


def _shapes(tree: Tree) -> dict[str, ParameterShape]:
    return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}


def collect(
    wanted: Mapping[str, Tensor],
    shapes: Mapping[str, ParameterShape],
    read: Callable[[str], np.ndarray],
    source: str,
    spare: Callable[[str], bool],
) -> dict[str, np.ndarray]:
    """Reads and converts tensors: float32, under the keys of `wanted`.

    Args:
      wanted: the tensors, by key; axes of size 1 at the front of a shape count for nothing.
      shapes: of everything in the file, by name.
      read: gives a tensor by its name.
      source: what errors call the file.
      spare: whether the file may hold a tensor of this name that nothing here wants.

    Raises:
      UserError: tensors that are missing, surplus, of another shape, not of floating-point numbers, not
        finite, or variances below 0; named.
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
    arrays, whole, infinite, negative = {}, [], [], []
    for key, tensor in wanted.items():
        array = read(tensor.name)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            whole.append(tensor.name)
            continue
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            infinite.append(tensor.name)
        elif key.endswith("/variance") and (array < 0).any():
            negative.append(tensor.name)
        arrays[key] = np.array(tensor.convert(array.reshape(tensor.shape)), order="C")
    faults = {
        "not of floating-point numbers": whole,
        "not finite": infinite,
        "variances below 0": negative,
    }
    refuse(source, faults)
    return arrays


def refuse(source: str, faults: Mapping[str, Iterable[str]]) -> None:
    """Raises a UserError that names tensors by what is wrong with them, if there are any."""
    found = []
    for fault, names in faults.items():
        if names := sorted(names):
            rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            found.append(f"{fault}: {', '.join(names[:MOST_NAMES])}{rest}")
    if found:
        raise UserError(f"{source} does not hold the tensors of this format ({'; '.join(found)})")


def _bare(shape: ParameterShape) -> ParameterShape:
    while shape and shape[0] == 1:
        shape = shape[1:]
    return tuple(shape)


def trained_network(arrays: Mapping[str, np.ndarray]) -> TrainedNetwork:
    """The network whose leaves are under "params/PATH" and whose vectors are under "u/PATH"."""
    params, u = (
        {key.removeprefix(kind): array for key, array in arrays.items() if key.startswith(kind)}
        for kind in ("params/", "u/")
    )
    return TrainedNetwork(unflatten_dict(params, sep="/"), u)


def power_iteration_sigmas(network: TrainedNetwork, unit: Convert) -> dict[str, float]:
    """σ = vᵀWu of every weight after one power iteration from its u, in float64.

    Args:
      network: its weights and their vectors.
      unit: how the file's own code scales a vector to unit length.
    """
    leaves, sigmas = flatten_dict(network.params, sep="/"), {}
    for path, u in network.u.items():
        matrix = leaves[path].reshape(-1, len(u)).astype(np.float64)
        v = unit(matrix @ u)
        sigmas[path] = float(v @ matrix @ unit(v @ matrix))
    return sigmas


def from_torch(shape: ParameterShape) -> tuple[ParameterShape, Convert]:
    """PyTorch's shape of a kernel of ours, and what brings one here: outputs come first there."""
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return (outputs, inputs, height, width), lambda weight: weight.transpose(2, 3, 1, 0)
    return shape[::-1], np.transpose


def channels_last(array: np.ndarray) -> np.ndarray:
    """[…, C·4·4] to [..., 4·4·C]: the first feature map, as the linear layer before it lays it out."""
    size = INITIAL_RESOLUTION
    maps = array.reshape(*array.shape[:-1], -1, size, size)
    return np.moveaxis(maps, -3, -1).reshape(array.shape)
