"""Reader of the generators published on TF-Hub: biggan-{128,256,512} and biggan-deep-{128,256,512}.

TensorFlow's checkpoint reader reads the averaged weights and u0 from the folder of a module, or from a
checkpoint with the same names. Statistics by truncation are constants in the graph, which is never run.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

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
from biggan_jax.models.parameter_tree import Tree, unflatten
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import ExportedGenerator

FORMAT = "tfhub"
STEP = 0.02  # between the truncations with statistics, of which the last is 1
ROWS = (50, 51)  # truncations from 0.02 (BigGAN), or from 0 (BigGAN-deep)


def read_tfhub(path: Path) -> ExportedGenerator:
    """Reads a generator from a module or a checkpoint.

    The graph of a module has statistics for each truncation. A checkpoint without graph may have statistics
    at truncation 1; if it has none, `statistics` is empty.

    Args:
      path: Folder of a SavedModel, or a checkpoint (TensorFlow's name of it, without ".index").

    Raises:
      UserError: If the checkpoint is missing or damaged, or tensors are missing, surplus, of another shape or
        not finite.
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
        statistics = {1.0: unflatten(leaves_of_one)}
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
    """Scales to unit length as the graphs of the modules do: with ε under the root."""
    return vector / np.sqrt(np.sum(vector**2) + EPSILON)


def _locate(path: Path) -> tuple[Path, Path | None]:
    """Returns the prefix of the checkpoint, and the graph beside it or None."""
    if path.is_dir():
        graph = path / "saved_model.pb"
        indices = sorted(path.glob("variables/*.index")) or sorted(path.glob("*.index"))
        if len(indices) != 1:
            raise UserError(
                f"{path} has {len(indices)} checkpoints (*.index, there or in variables/), and a module has "
                "one; give the folder of the module, or a checkpoint without its ending"
            )
        return indices[0].with_suffix(""), graph if graph.exists() else None
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not prefix.with_name(f"{prefix.name}.index").exists():
        raise UserError(f"neither the folder {path} nor the checkpoint {prefix}.index exists")
    return prefix, None


def _parts(prefix: Path) -> list[Path]:
    """Returns the files of a checkpoint."""
    return sorted(path for path in prefix.parent.iterdir() if path.name.startswith(f"{prefix.name}."))


def _open(prefix: Path) -> tuple[Any, str, dict[str, ParameterShape]]:
    """Returns a reader, the scope of all names, and the shapes of the variables by the rest of the name."""
    tf = import_tensorflow()
    for path in _parts(prefix):
        refuse_devices(path)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        held = sum(path.stat().st_size for path in _parts(prefix))
    except Exception as error:  # TensorFlow raises many kinds for damaged files
        raise UserError(
            f"{prefix} is damaged, or no TensorFlow checkpoint ({_first_line(error)}); get it again"
        ) from error
    # Checked before memory is allocated: a few bytes may declare any shape.
    declared = sum(
        math.prod(shape) * types[name].size for name, shape in shapes.items() if types[name].is_floating
    )
    if declared > held:
        raise UserError(f"{prefix} is damaged: its variables need more bytes than the file has; get it again")
    scopes = {name.partition("Generator/")[0] for name in shapes if "Generator/" in name}
    if len(scopes) != 1:
        some = ", ".join(sorted(shapes)[:4])
        raise UserError(
            f"{prefix} is no published BigGAN: it has {len(scopes)} scopes with a Generator (it holds "
            f"{some} …)"
        )
    (scope,) = scopes
    return reader, scope, {name.removeprefix(scope): tuple(shape) for name, shape in shapes.items()}


def _read(reader: Any, name: str, source: str) -> np.ndarray:
    try:
        return reader.get_tensor(name)
    except Exception as error:  # TensorFlow raises many kinds for damaged files
        raise UserError(
            f"{source} is damaged: {name} cannot be read ({_first_line(error)}); get it again"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _spare(wanted: Mapping[str, Tensor], shapes: Mapping[str, ParameterShape]) -> Callable[[str], bool]:
    """Returns whether a checkpoint may hold a further variable: none that another generator would have."""
    names = {tensor.name for tensor in wanted.values()}
    averaged = {name.rpartition("/")[0] for name in names if "/ema_" in name}
    vectors = {name.removesuffix("0") for name in names if name.endswith("/u0")}

    def spare(name: str) -> bool:
        if not name.startswith(("Generator/", "linear/")) or not shapes[name]:
            return True  # of the discriminator or optimiser, or a counter
        return (
            name in averaged  # the weights before averaging
            or name.rstrip("0123456789") in vectors  # u1 and u2, for further singular values
            or name.endswith(("/accumulated_mean", "/accumulated_var", "/accumulation_counter"))
        )

    return spare


def _tables(graph: Path, leaves: Mapping[str, ParameterShape]) -> dict[float, Tree]:
    """Returns the statistics in the graph of a module, by truncation."""
    widths = {leaf.rpartition("/normalize/")[0]: shape[0] for leaf, shape in leaves.items()}
    # In the order in which an image passes them: block by block, then the one without a number.
    paths = sorted(widths, key=lambda path: [int(n) for n in re.findall(r"\d+", path)] or [len(widths)])
    tables = standing_statistics(read_bytes(graph), [widths[path] for path in paths], str(graph))
    if tables is None:
        logging.warning("%s has no statistics by truncation", graph)
        return {}
    rows = len(tables[0])
    if rows not in ROWS:
        raise UserError(f"{graph} has statistics at {rows} truncations, and a published module at 50 or 51")
    if not all(np.isfinite(table).all() for table in tables) or min(map(np.min, tables[1::2])) < 0:
        raise UserError(f"{graph} has statistics that are not finite, or variances below 0; get it again")
    statistics = {}
    for row in range(rows):
        of_row = {}
        for path, mean, variance in zip(paths, tables[::2], tables[1::2], strict=True):
            of_row |= {f"{path}/normalize/mean": mean[row], f"{path}/normalize/variance": variance[row]}
        statistics[round(1 - STEP * (rows - 1 - row), 6)] = unflatten(of_row)
    return statistics
