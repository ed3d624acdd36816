"""Files of an export: a folder that appears complete or not at all.

generator.safetensors   weights divided by their σ ("params/block_0/conv_1/kernel") and standing statistics
                        ("statistics/0.5/norm/normalize/mean"), float32
config.json             network, classes, truncations, provenance, and the SHA-256 of the files and of itself
training.safetensors    optional, for further training: undivided weights and the vectors of spectral norm
                        ("generator/params/…", "generator/u/…", and the same for "discriminator/")
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from ml_collections import ConfigDict

from biggan_jax.config import default_config, validate
from biggan_jax.config import flatten as flatten_config
from biggan_jax.exports.weights.files import read_bytes, read_state
from biggan_jax.exports.weights.layout import (
    ParameterShape,
    Tensor,
    collect,
    discriminator_shapes,
    generator_shapes,
    trained_network,
)
from biggan_jax.models.parameter_tree import Tree, flatten, unflatten
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import OUTPUT, writing
from biggan_jax.runtime.json_digest import json_digest
from biggan_jax.runtime.json_values import parse_json
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
      folder: Path of the folder, which must not exist or must be empty.
      exported: Generator to write.
      others: Content of further files, such as a model card, by name.
      check: Function to call with the complete folder before it gets its name; an exception removes it.

    Raises:
      UserError: If the folder is in use or cannot be written; nothing is left behind.
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
    config["sha256"] = json_digest(config)
    files[CONFIG] = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False).encode()
    folder = Path(os.path.abspath(folder))  # "." has no name to derive another from.
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
    """Raises UserError if the folder is in use; call it before long work."""
    try:
        used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise UserError(
            f"cannot read {folder}: {error.strerror or error}; choose another --output"
        ) from error
    if used:
        raise UserError(f"{folder} exists already: remove it, or choose another --output")


def read_export(folder: Path, training: bool = False) -> ExportedGenerator:
    """Reads an export; no code in it is executed.

    Args:
      folder: Folder of the export.
      training: Whether to read the trained networks too, if the export has them.

    Raises:
      UserError: If the folder is no export, or a file is missing, damaged, changed or of a later version.
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
        raise UserError(f"{path} has {len(names)} names for {model.num_classes} classes; export it again")

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
    """Reads the `model` section of an export, without its weights; raises as `read_export`."""
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
        for path, leaf in flatten(tree).items()
    }


def _tree(arrays: Mapping[str, np.ndarray], prefix: str) -> Tree:
    flat = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    return unflatten(flat)


def _keys(prefix: str, shapes: Mapping[str, ParameterShape]) -> dict[str, Tensor]:
    return {f"{prefix}/{path}": Tensor(f"{prefix}/{path}", shape) for path, shape in shapes.items()}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(
            f"{folder} is no export: {CONFIG} is missing; give a folder that python -m biggan_jax.export or "
            "biggan_jax.import_weights has written"
        )
    try:
        config = parse_json(read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); export it again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(
            f"{path} does not belong to an export of biggan_jax; import_weights reads other formats"
        )
    if config.get("version") != VERSION:
        raise UserError(
            f"{path} has version {config.get('version')!r} of the format, and this package reads version "
            f"{VERSION}: install a newer biggan_jax"
        )
    digest = config.pop("sha256", None)
    if digest is None:
        logging.warning("%s was written without a digest, so it could not be verified", path)
    elif digest != json_digest(config):
        raise UserError(f"{path} has changed since it was exported (its SHA-256 differs); get it again")
    return config


def _checked(config: Mapping[str, Any], name: str, is_valid: Callable[[Any], bool], path: str) -> Any:
    value = config.get(name)
    if not is_valid(value):
        raise UserError(f"{path}: {name} is {value!r:.80}, which is not valid; export it again")
    return value


def _is_list_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(item) in kinds for item in value)


def _model(saved: Any, path: str) -> ConfigDict:
    config = default_config()
    config.data.source = path  # A known source would fix the number of classes.
    try:
        config.model.update_from_flattened_dict(flatten_config(saved))
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
        raise UserError(f"{path} is not the exported file (its SHA-256 differs); get it again")
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
