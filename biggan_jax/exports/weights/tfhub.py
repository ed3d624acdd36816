"""Reads the published generators of TF-Hub: biggan-{128,256,512} and biggan-deep-{128,256,512}.

From a module's folder, or a checkpoint under the same names, TensorFlow's checkpoint reader takes the
averaged weights and u0. Statistics by truncation are constants in the graph, which is read and never run.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from flax.traverse_util import unflatten_dict

from biggan_jax.data.tensorflow_runtime import import_tensorflow
from biggan_jax.exports.weights.files import read_bytes, refuse_devices, sha256
from biggan_jax.exports.weights.freezing import freeze
from biggan_jax.exports.weights.layout import (
    ParameterShape,
    Tensor,
    collect,
    generator_shapes,
    power_iteration_sigmas,
    trained_network,
)
from biggan_jax.exports.weights.saved_model import standing_statistics
from biggan_jax.exports.weights.tfhub_names import DEEP, EPSILON, PLAIN, accumulated, infer_model, parameter
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import ExportedGenerator

FORMAT = "tfhub"
STEP = 0.02  # between the truncations that a module has statistics for, the last of which is 1
ROWS = (50, 51)  # from 0.02 on (BigGAN), or from 0 on (BigGAN-deep)


def read_tfhub(path: Path) -> ExportedGenerator:
    """Reads a generator from a module or a checkpoint.

    Of statistics there is one set a truncation if the module's graph is at hand. A checkpoint alone may have
    one set, for truncation 1; if it has none, `statistics` is empty, and they are to be gathered anew.

    Args:
      path: the folder of a SavedModel, or a checkpoint (as TensorFlow names it, without ".index").

    Raises:
      UserError: there is no such checkpoint, it is damaged, or tensors are missing, surplus, misshapen or not
        finite.
    """
    prefix, graph = _locate(path)
    source = str(prefix)
    reader, scope, shapes = _open(prefix)
    dialect = DEEP if any(name.startswith(DEEP.first) for name in shapes) else PLAIN
    model = infer_model(shapes, dialect, source)
    params, leaves = generator_shapes(model)
    statistics = _tables(graph, leaves) if graph else {}

    wanted: dict[str, Tensor] = {}
    for leaf, shape in params.items():
        wanted |= parameter(leaf, shape, dialect, shapes)
    single = {f"statistics/{leaf}": accumulated(leaf, shape, dialect) for leaf, shape in leaves.items()}
    if not statistics and any(tensor.name in shapes for tensor in single.values()):
        wanted |= single
    else:
        single = {}
    arrays = collect(
        wanted, shapes, lambda name: _read(reader, scope + name, source), source, _spare(wanted, shapes)
    )
    if single:
        leaves_of_one = {leaf: arrays[f"statistics/{leaf}"] for leaf in leaves}
        statistics = {1.0: unflatten_dict(leaves_of_one, sep="/")}
    undivided = trained_network(arrays)
    frozen, trainable = freeze(undivided, power_iteration_sigmas(undivided, _unit), source)
    files = [*_parts(prefix), *([graph] if graph else [])]
    return ExportedGenerator(
        model=model,
        params=frozen,
        statistics=statistics,
        truncation_kind="scale",
        generator=trainable,
        discriminator=None,
        provenance={"format": FORMAT, "files": {file.name: sha256(file) for file in files}},
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    """As the modules' graphs have it: ε stands under the root."""
    return vector / np.sqrt(np.sum(vector**2) + EPSILON)


def _locate(path: Path) -> tuple[Path, Path | None]:
    """The checkpoint's prefix, and the graph beside it if there is one."""
    if path.is_dir():
        graph = path / "saved_model.pb"
        found = sorted(path.glob("variables/*.index")) or sorted(path.glob("*.index"))
        if len(found) != 1:
            raise UserError(
                f"{path} has {len(found)} checkpoints (*.index, there or in variables/), where a module has "
                "one; name the module's folder, or a checkpoint without its ending"
            )
        return found[0].with_suffix(""), graph if graph.exists() else None
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not prefix.with_name(f"{prefix.name}.index").exists():
        raise UserError(f"there is no folder {path}, and no checkpoint {prefix}.index")
    return prefix, None


def _parts(prefix: Path) -> list[Path]:
    """The files of a checkpoint."""
    return sorted(path for path in prefix.parent.iterdir() if path.name.startswith(f"{prefix.name}."))


def _open(prefix: Path) -> tuple[Any, str, dict[str, ParameterShape]]:
    """A reader, the scope that all names begin with, and the variables' shapes by the rest of the name."""
    tf = import_tensorflow()
    for path in _parts(prefix):
        refuse_devices(path)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        held = sum(path.stat().st_size for path in _parts(prefix))
    except Exception as error:  # whatever a damaged file makes TensorFlow raise
        raise UserError(
            f"{prefix} is damaged, or no checkpoint of TensorFlow ({_first_line(error)}); get it again"
        ) from error
    # Before memory is taken for them: a few bytes may declare any shape.
    declared = sum(
        math.prod(shape) * types[name].size for name, shape in shapes.items() if types[name].is_floating
    )
    if declared > held:
        raise UserError(f"{prefix} is damaged: its variables would take more bytes than it has; get it again")
    scopes = {name.partition("Generator/")[0] for name in shapes if "Generator/" in name}
    if len(scopes) != 1:
        some = ", ".join(sorted(shapes)[:4])
        raise UserError(
            f"{prefix} is of no published BigGAN: it has {len(scopes)} scopes with a Generator (it holds "
            f"{some} …)"
        )
    (scope,) = scopes
    return reader, scope, {name.removeprefix(scope): tuple(shape) for name, shape in shapes.items()}


def _read(reader: Any, name: str, source: str) -> np.ndarray:
    try:
        return reader.get_tensor(name)
    except Exception as error:  # whatever a damaged file makes TensorFlow raise
        raise UserError(
            f"{source} is damaged: {name} cannot be read ({_first_line(error)}); get it again"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _spare(wanted: Mapping[str, Tensor], shapes: Mapping[str, ParameterShape]) -> Callable[[str], bool]:
    """Tells which variables a checkpoint may hold besides: none that another generator would have."""
    names = {tensor.name for tensor in wanted.values()}
    averaged = {name.rpartition("/")[0] for name in names if "/ema_" in name}
    vectors = {name.removesuffix("0") for name in names if name.endswith("/u0")}

    def spare(name: str) -> bool:
        if not name.startswith(("Generator/", "linear/")) or not shapes[name]:
            return True  # the discriminator's, the optimiser's; counters
        return (
            name in averaged  # what the averages are of
            or name.rstrip("0123456789") in vectors  # u1 and u2, of further singular values
            or name.endswith(("/accumulated_mean", "/accumulated_var", "/accumulation_counter"))
        )

    return spare


def _tables(graph: Path, leaves: Mapping[str, ParameterShape]) -> dict[float, Tree]:
    """The statistics in a module's graph, by truncation."""
    widths = {leaf.rpartition("/normalize/")[0]: shape[0] for leaf, shape in leaves.items()}
    # As an image passes them: block by block, and at the end the one without a number.
    paths = sorted(widths, key=lambda path: [int(n) for n in re.findall(r"\d+", path)] or [len(widths)])
    tables = standing_statistics(read_bytes(graph), [widths[path] for path in paths], str(graph))
    if tables is None:
        logging.warning("%s: no statistics by truncation were found in this graph", graph)
        return {}
    rows = len(tables[0])
    if rows not in ROWS:
        raise UserError(f"{graph} has statistics for {rows} truncations, a published module for 50 or 51")
    if not all(np.isfinite(table).all() for table in tables) or min(map(np.min, tables[1::2])) < 0:
        raise UserError(f"{graph}: statistics that are not finite, or variances below 0; get it again")
    statistics = {}
    for row in range(rows):
        of_row = {}
        for path, mean, variance in zip(paths, tables[::2], tables[1::2], strict=True):
            of_row |= {f"{path}/normalize/mean": mean[row], f"{path}/normalize/variance": variance[row]}
        statistics[round(1 - STEP * (rows - 1 - row), 6)] = unflatten_dict(of_row, sep="/")
    return statistics
