"""The initial state of a new run: random weights, or trained networks that `config.init_from` names.

Trained networks come from an export, or from another run's workdir: its newest checkpoint, or the checkpoint
WORKDIR/checkpoints/STEP. The new run starts with their weights and vectors of spectral norm. Adam's moments
start at zero, the average of G's weights as a copy, and the step at 0.

A class that the networks know by name keeps its embeddings, in G and in D. A new class starts near the mean
of the known embeddings. The networks were trained around that point, unlike around a random one, and the
labels of the real images move the new classes apart. A resumed run reads nothing of all this.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from biggan_jax.config import config_to_json, differences
from biggan_jax.exports.export_files import CONFIG, FORMAT, read_export, read_model
from biggan_jax.models.architecture import resolve
from biggan_jax.models.spectral_norm import power_iteration
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import is_storage_error, resolve_directory
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.sampling.exported_generator import TrainedNetwork
from biggan_jax.training.run.saved_run import recorded_class_names, restore, saved_config
from biggan_jax.training.step.state import NetworkState, TrainState, create_state

# Deviation of new classes from the mean, in standard deviations of the known ones: no two start equal.
SPREAD = 0.1
ITERATIONS = 50  # of the power method, for weights whose vectors are unknown
MOST_NAMES = 8

# Fields of config.model in which two networks with exchangeable parameters may differ.
_FREE = {"num_classes", "dtype", "remat"}
_OTHER_FUNCTION = {"epsilon", "latent_distribution"}
_OF_DISCRIMINATOR = {"discriminator_channels", "discriminator_downsample"}

# The known networks' row of each class, None for a new class; None if all classes keep their rows.
Rows = Sequence[int | None] | None


class InitialSource(NamedTuple):
    """The export or run that `config.init_from` names.

    Attributes:
      folder: Folder of the export, or workdir of the run.
      is_export: Whether it is an export.
      step: Step of the run's checkpoint; None for the newest.
    """

    folder: epath.Path
    is_export: bool
    step: int | None = None


class InitialNetworks(NamedTuple):
    """Trained networks to start from.

    Attributes:
      model: Their `config.model`.
      generator: G; without vectors of spectral norm if its weights are divided already.
      discriminator: D, or None.
      class_names: Names of their classes; empty if unknown.
    """

    model: ConfigDict
    generator: TrainedNetwork
    discriminator: TrainedNetwork | None
    class_names: tuple[str, ...]


def first_state(
    config: ConfigDict, workdir: epath.Path, class_names: Sequence[str], print_line: Callable[[str], None]
) -> TrainState:
    """Makes the state before the first step.

    Args:
      config: The whole config.
      workdir: Directory of the new run.
      class_names: Names of the classes of the run's images.
      print_line: Function that prints a line; it gets a summary of the initial networks.

    Raises:
      UserError: The source that `config.init_from` names is missing, damaged, the run's own workdir, or of
        another architecture.
    """
    name = config.init_from
    if not name:
        return create_state(config)
    source = locate(name)  # before the state is made, which takes time
    if _same(source.folder, workdir):
        raise UserError(
            f"config.init_from = {name!r} is the run's own workdir: name another, or choose another --workdir"
        )
    with _naming(name):
        known = _read(source)
    state = create_state(config)
    _refuse_mismatch(name, known, config.model, state)
    rows = _rows(known, config.model.num_classes, class_names)
    for line in _summary(name, known, config.model, rows, class_names):
        print_line(line)
    random, epsilon = np.random.default_rng(config.seed), config.model.epsilon
    generator = _transferred(known.generator, state.generator, rows, random, epsilon)
    state = state.replace(generator=generator, ema_params=jax.tree.map(np.copy, generator.params))
    if known.discriminator is None:
        return state
    discriminator = _transferred(known.discriminator, state.discriminator, rows, random, epsilon)
    return state.replace(discriminator=discriminator)


def model_of(name: str) -> ConfigDict:
    """Returns `config.model` of an export or run.

    Args:
      name: Value of `config.init_from`.

    Raises:
      UserError: It names neither an export nor a run.
    """
    source = locate(name)
    with _naming(name):
        return (
            read_model(cast(Path, source.folder)) if source.is_export else saved_config(source.folder).model
        )


def locate(name: str) -> InitialSource:
    """Finds the export or run that `config.init_from` names.

    Args:
      name: Value of `config.init_from`.

    Raises:
      UserError: It names neither an export nor a run.
    """
    with _naming(name):
        folder, step = resolve_directory(name, prefix=""), None
    if folder.parent.name == "checkpoints" and folder.name.isdigit():
        folder, step = folder.parent.parent, int(folder.name)
    try:
        config = parse_json((folder / CONFIG).read_bytes())
    except Exception as error:
        if not (is_storage_error(error) or isinstance(error, ValueError)):
            raise
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = f"no {CONFIG} in {folder}" if missing else f"cannot read {folder / CONFIG} ({error})"
        raise UserError(
            f"config.init_from = {name!r}: {reason}; name an export, a run's workdir, or "
            "WORKDIR/checkpoints/STEP"
        ) from error
    is_export = isinstance(config, dict) and config.get("format") == FORMAT
    return InitialSource(folder, is_export, step)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the field and its value before the message of an error inside the block."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, UserError) or is_storage_error(error)):
            raise
        raise UserError(f"config.init_from = {name!r}: {error}") from error


def _same(folder: epath.Path, workdir: epath.Path) -> bool:
    return os.path.realpath(folder) == os.path.realpath(workdir)


def _read(source: InitialSource) -> InitialNetworks:
    if source.is_export:
        exported = read_export(cast(Path, source.folder), training=True)
        generator = exported.generator or TrainedNetwork(exported.params, {})
        return InitialNetworks(exported.model, generator, exported.discriminator, exported.class_names)
    config = saved_config(source.folder)
    restored = restore(source.folder, config, source.step)
    generator, discriminator = (
        TrainedNetwork(one.params, one.u) for one in (restored.state.generator, restored.state.discriminator)
    )
    names = recorded_class_names(source.folder, restored)
    return InitialNetworks(config.model, generator, discriminator, names)


def _class_axis(path: str) -> int | None:
    """Returns the axis of a parameter that counts classes: in embeddings and in D's projection."""
    if path.endswith("/embedding"):
        return 0
    return 1 if path == "projection/kernel" else None


def _refuse_mismatch(name: str, known: InitialNetworks, model: ConfigDict, state: TrainState) -> None:
    """Raises UserError with fields and tensors if the networks are of another architecture."""
    there, here = resolve(known.model), resolve(model)
    tensors = [f"G's {fault}" for fault in _mismatches(known.generator.params, state.generator.params)]
    fits, spared = there.generator_blocks == here.generator_blocks, _FREE | _OTHER_FUNCTION
    if known.discriminator is None:
        spared |= _OF_DISCRIMINATOR
    else:
        opponent = state.discriminator.params
        tensors += [f"D's {fault}" for fault in _mismatches(known.discriminator.params, opponent)]
        fits &= there.discriminator_blocks == here.discriminator_blocks
    if fits and not tensors:
        return
    fields = differences(config_to_json(known.model), config_to_json(model))
    listed = [f"  model.{field}: {values}" for field, values in fields.items() if field not in spared]
    if tensors:
        more = f" … and {len(tensors) - MOST_NAMES} more" if len(tensors) > MOST_NAMES else ""
        listed.append(f"tensors that don't fit: {', '.join(tensors[:MOST_NAMES])}{more}")
    raise UserError(
        f"config.init_from = {name!r} is of another architecture (there → here):\n" + "\n".join(listed) + "\n"
        f"set these fields as they are there, as --config=configs/finetune.py:{name} does"
    )


def _mismatches(there: Any, here: Any) -> list[str]:
    """Returns the leaves that only one tree has, or that differ in more than the number of classes."""
    before, now = (flatten_dict(tree, sep="/") for tree in (there, here))

    def shape(leaves: Mapping[str, Any], path: str) -> list[int] | str:
        if path not in leaves:
            return "none"
        return [size for axis, size in enumerate(leaves[path].shape) if axis != _class_axis(path)]

    return [
        f"{path} {shape(before, path)} → {shape(now, path)}"
        for path in sorted(before.keys() | now.keys())
        if shape(before, path) != shape(now, path)
    ]


def _rows(known: InitialNetworks, num_classes: int, class_names: Sequence[str]) -> Rows:
    before, now = known.class_names, tuple(class_names)
    if before and len(now) == num_classes:
        return None if before == now else [before.index(one) if one in before else None for one in now]
    # Without names, an equal number of classes counts as the same classes.
    return None if known.model.num_classes == num_classes else [None] * num_classes


def _summary(
    name: str, known: InitialNetworks, model: ConfigDict, rows: Rows, class_names: Sequence[str]
) -> Iterator[str]:
    """Yields lines that say what the run starts from."""
    yield f"starting from {'G and D' if known.discriminator else 'G'} of {name}"
    if not known.generator.u:
        yield "  G: from weights divided by their σ, because the export has no training.safetensors"
    if known.discriminator is None:
        yield "  D: random weights, because the source has none"
    if rows is None:
        unknown = "" if known.class_names else ", by number, because their names are unknown"
        yield f"  classes: all {model.num_classes:,} keep their embeddings{unknown}"
    else:
        labels = [label for label, row in enumerate(rows) if row is None]
        new = [class_names[label] if label < len(class_names) else f"class {label}" for label in labels]
        listed = ", ".join(new[:MOST_NAMES]) + (", …" if len(new) > MOST_NAMES else "")
        yield f"  classes: {len(rows) - len(new):,} known by name, {len(new):,} new{listed and f': {listed}'}"
    changed = differences(config_to_json(known.model), config_to_json(model))
    for field in _OTHER_FUNCTION & changed.keys():
        yield f"  changed since then: model.{field} {changed[field]}"


def _transferred(
    network: TrainedNetwork, fresh: NetworkState, rows: Rows, random: np.random.Generator, epsilon: float
) -> NetworkState:
    """Returns the initial network: trained weights, classes in their new rows, initial Adam moments."""
    params: dict[str, Any] = dict(flatten_dict(network.params, sep="/"))
    u = dict(network.u)
    for path in sorted(params):
        axis = _class_axis(path)
        if rows is not None and axis is not None:
            params[path] = _rearrange(params[path], axis, rows, random)
            u.pop(path, None)
    unknown = {path: vector for path, vector in fresh.u.items() if path not in u}
    weights = unflatten_dict({path: params[path] for path in unknown}, sep="/")
    iterate = jax.jit(lambda weights, vectors: power_iteration(weights, vectors, epsilon).right)
    for _ in range(ITERATIONS if unknown else 0):
        unknown = iterate(weights, unknown)
    return NetworkState(unflatten_dict(params, sep="/"), u | jax.device_get(unknown), fresh.opt_state)


def _rearrange(
    table: np.ndarray, axis: int, rows: Sequence[int | None], random: np.random.Generator
) -> np.ndarray:
    """Returns a table by class with the given rows, and with new rows near the mean."""
    table = np.moveaxis(np.asarray(table), axis, 0)
    noise = random.standard_normal((len(rows), *table.shape[1:]))
    new = table.mean(axis=0) + SPREAD * table.std(axis=0) * noise
    kept = [table[row] if row is not None else one for row, one in zip(rows, new, strict=True)]
    return np.ascontiguousarray(np.moveaxis(np.stack(kept).astype(np.float32), 0, axis))
