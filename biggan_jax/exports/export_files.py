"""An export on disk: a folder that appears whole or not at all.

generator.safetensors   weights divided by their σ ("params/block_0/conv_1/kernel") and batch norm's
                        statistics ("statistics/0.5/norm/normalize/mean"), float32
config.json             the network, its classes and truncations, what it came of; the files' SHA-256
training.safetensors    where there is more to train on from: weights undivided and the vectors of spectral
                        norm ("generator/params/…", "generator/u/…", and the same of "discriminator/")
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from biggan_jax.config import default_config, flatten, validate
from biggan_jax.exports.weights.files import read_bytes, read_state
from biggan_jax.exports.weights.layout import (
    ParameterShape,
    Tensor,
    collect,
    discriminator_shapes,
    generator_shapes,
    trained_network,
)
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import OUTPUT, writing
from biggan_jax.sampling.exported_generator import ExportedGenerator, TrainedNetwork
from biggan_jax.sampling.truncation import TRUNCATION_KINDS, refuse_impossible

FORMAT, VERSION = "biggan_jax export", 1
CONFIG, GENERATOR, TRAINING = "config.json", "generator.safetensors", "training.safetensors"


def write_export(
    folder: Path,
    exported: ExportedGenerator,
    others: Mapping[str, bytes] | None = None,
    check: Callable[[Path], None] = lambda _: None,
) -> None:
    """Writes an export.

    Args:
      folder: must not exist yet, or be empty.
      exported: what to write.
      others: further files, such as a model card, by name.
      check: is called with the folder, whole but under another name yet; what it raises undoes all.

    Raises:
      UserError: the folder is in use or cannot be written; nothing is left behind then.
    """
    refuse_used(folder)
    files = {GENERATOR: safetensors.numpy.save(_tensors(exported))}
    if exported.generator is not None:
        files[TRAINING] = safetensors.numpy.save(_training_tensors(exported))
    files |= others or {}
    config = {
        "format": FORMAT,
        "version": VERSION,
        "model": json.loads(exported.model.to_json()),
        "truncation_kind": exported.truncation_kind,
        "truncations": sorted(exported.statistics),
        "class_names": list(exported.class_names),
        "provenance": exported.provenance,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files[CONFIG] = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False).encode()
    folder = Path(os.path.abspath(folder))  # "." has no name that another could be made of
    part = folder.with_name(f".{folder.name}.part")
    try:
        with writing(folder, OUTPUT):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name, content in files.items():
                (part / name).write_bytes(content)
        check(part)
        with writing(folder, OUTPUT):
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_used(folder: Path) -> None:
    """Raises UserError if something is there already: best asked before long work."""
    try:
        used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise UserError(
            f"cannot read {folder}: {error.strerror or error}; choose another --output"
        ) from error
    if used:
        raise UserError(f"{folder} exists already: remove it, or choose another --output")


def read_export(folder: Path, training: bool = False) -> ExportedGenerator:
    """Reads an export; nothing in it is executed.

    Args:
      folder: of the export.
      training: whether to read, too, what there is to train on from.

    Raises:
      UserError: it is no export, a file is missing, damaged or changed, or of a later version.
    """
    config = _read_config(folder)
    path = str(folder / CONFIG)
    model = _model(config.get("model"), path)
    truncations = _checked(config, "truncations", _is_list_of(float, int), path)
    kind = _checked(config, "truncation_kind", lambda value: value in TRUNCATION_KINDS, path)
    for truncation in truncations:
        try:
            refuse_impossible(kind, truncation, model.latent_distribution)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    names = _checked(config, "class_names", _is_list_of(str), path)
    provenance = _checked(config, "provenance", lambda value: isinstance(value, dict), path)
    digests = _checked(config, "files", lambda value: isinstance(value, dict), path)
    if names and len(names) != model.num_classes:
        raise UserError(f"{path} names {len(names)} of {model.num_classes} classes; export it again")

    params, statistics = generator_shapes(model)
    wanted = _keys("params", params)
    for truncation in truncations:
        wanted |= _keys(f"statistics/{float(truncation)!r}", statistics)
    arrays = _read_tensors(folder / GENERATOR, wanted, digests)
    networks = {}
    if training and TRAINING in digests:
        networks = _read_networks(folder / TRAINING, params, model, digests)
    return ExportedGenerator(
        model=model,
        params=_tree(arrays, "params/"),
        statistics={float(t): _tree(arrays, f"statistics/{float(t)!r}/") for t in truncations},
        truncation_kind=kind,
        class_names=tuple(names),
        provenance=provenance,
        **networks,
    )


def read_model(folder: Path) -> ConfigDict:
    """The `model` section of an export, without its weights; raises as `read_export`."""
    return _model(_read_config(folder).get("model"), str(folder / CONFIG))


def _tensors(exported: ExportedGenerator) -> dict[str, np.ndarray]:
    trees = {"params": exported.params} | {
        f"statistics/{float(truncation)!r}": tree for truncation, tree in exported.statistics.items()
    }
    return _flat(trees)


def _training_tensors(exported: ExportedGenerator) -> dict[str, np.ndarray]:
    networks = {"generator": exported.generator, "discriminator": exported.discriminator}
    trees = {}
    for name, one in networks.items():
        if one is not None:
            trees |= {f"{name}/params": one.params, f"{name}/u": one.u}
    return _flat(trees)


def _flat(trees: Mapping[str, Tree]) -> dict[str, np.ndarray]:
    return {
        f"{name}/{path}": np.ascontiguousarray(leaf, np.float32)
        for name, tree in trees.items()
        for path, leaf in flatten_dict(tree, sep="/").items()
    }


def _tree(arrays: Mapping[str, np.ndarray], prefix: str) -> Tree:
    flat = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    return unflatten_dict(flat, sep="/")


def _keys(prefix: str, shapes: Mapping[str, ParameterShape]) -> dict[str, Tensor]:
    return {f"{prefix}/{path}": Tensor(f"{prefix}/{path}", shape) for path, shape in shapes.items()}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(
            f"{folder} is no export: there is no {CONFIG}; give a folder that python -m biggan_jax.export or "
            "biggan_jax.import_weights has written"
        )
    try:
        config = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); export it again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{path} is not of an export of biggan_jax; import_weights reads other formats")
    if config.get("version") != VERSION:
        raise UserError(
            f"{path} is of version {config.get('version')!r} of the format, and this package reads "
            f"{VERSION}: install a newer biggan_jax"
        )
    return config


def _checked(config: Mapping[str, Any], name: str, is_right: Any, path: str) -> Any:
    value = config.get(name)
    if not is_right(value):
        raise UserError(f"{path}: {name} is {value!r:.80}, which it cannot be; export it again")
    return value


def _is_list_of(*kinds: type) -> Any:
    return lambda value: isinstance(value, list) and all(type(item) in kinds for item in value)


def _model(saved: Any, path: str) -> ConfigDict:
    config = default_config()
    config.data.source = path  # not one that is known to have other classes
    try:
        config.model.update_from_flattened_dict(flatten(saved))
        validate(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: its network cannot be built ({error}); install a newer biggan_jax"
        ) from error
    return config.model


def _read_tensors(
    path: Path, wanted: Mapping[str, Tensor], digests: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    state, digest = read_state(path)
    if digest != digests.get(path.name):
        raise UserError(f"{path} is not the file that was exported (its SHA-256 differs); get it again")
    shapes = {name: tensor.shape for name, tensor in state.items()}
    return collect(wanted, shapes, state.__getitem__, str(path), lambda _: False)


def _read_networks(
    path: Path, params: Mapping[str, ParameterShape], model: ConfigDict, digests: Mapping[str, Any]
) -> dict[str, TrainedNetwork]:
    state, _ = read_state(path)
    shapes = {"generator": params}
    if any(name.startswith("discriminator/") for name in state):
        shapes["discriminator"] = discriminator_shapes(model)
    wanted = {}
    for name, leaves in shapes.items():
        wanted |= _keys(f"{name}/params", leaves)
        vectors = {leaf: shape[-1:] for leaf, shape in leaves.items() if leaf.endswith("kernel")}
        wanted |= _keys(f"{name}/u", vectors)
    arrays = _read_tensors(path, wanted, digests)
    return {
        name: trained_network(
            {
                key.removeprefix(f"{name}/"): array
                for key, array in arrays.items()
                if key.startswith(f"{name}/")
            }
        )
        for name in shapes
    }
