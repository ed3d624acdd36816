"""Reader of `pytorch-pretrained-biggan` (PyPI): the published BigGAN-deep generators in PyTorch.

A folder holds config.json and pytorch_model.bin (or model.safetensors) with undivided weights and the vectors
u and v of PyTorch's spectral norm: σ = uᵀWv. Batch norm has statistics at truncations 0, 0.02, … 1.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from biggan_jax.exports.weights.files import read_bytes, read_state
from biggan_jax.exports.weights.freezing import freeze
from biggan_jax.exports.weights.layout import (
    ParameterShape,
    Tensor,
    collect,
    from_torch,
    generator_shapes,
    parse_layer,
    trained_network,
)
from biggan_jax.exports.weights.model_section import model_section
from biggan_jax.models.architecture import INITIAL_RESOLUTION
from biggan_jax.models.parameter_tree import flatten, unflatten
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.sampling.exported_generator import ExportedGenerator

FORMAT = "huggingface"
FIRST_WIDTH = 16  # width of the 4×4 map in units of channel_width, fixed in the code of the package
LARGEST = 1_000_000  # of the numbers in config.json
NUMBERS = ("output_dim", "z_dim", "channel_width", "num_classes", "attention_layer_position", "n_stats")


def read_huggingface(folder: Path) -> ExportedGenerator:
    """Reads a generator from a folder of `pytorch-pretrained-biggan`.

    Raises:
      UserError: If a file is missing or damaged, the network is not supported, or tensors are missing,
        surplus, of another shape or not finite.
    """
    settings, config_sha256 = _read_settings(folder / "config.json")
    path = folder / "model.safetensors"
    if not path.exists():
        path = folder / "pytorch_model.bin"
    model = _model(settings, str(folder / "config.json"))
    state, sha256 = read_state(path)

    params, statistics = generator_shapes(model)
    attention_block = settings["attention_layer_position"]
    wanted: dict[str, Tensor] = {}
    for leaf, shape in params.items():
        name = _module(leaf.rpartition("/")[0], attention_block)
        wanted |= _parameter(leaf, shape, name, settings["channel_width"])
    for leaf, shape in statistics.items():
        kind = {"mean": "running_means", "variance": "running_vars"}[leaf.rpartition("/")[2]]
        name = _module(leaf.removesuffix("/mean").removesuffix("/variance"), attention_block)
        wanted[f"statistics/{leaf}"] = Tensor(f"{name}.{kind}", (settings["n_stats"], *shape))
    shapes = {name: tensor.shape for name, tensor in state.items()}
    arrays = collect(wanted, shapes, state.__getitem__, str(path), lambda _: False)

    undivided = trained_network(arrays)
    weights = flatten(undivided.params)
    sigmas = {}
    for leaf, u in undivided.u.items():
        matrix = weights[leaf].reshape(-1, len(u)).astype(np.float64)
        sigmas[leaf] = float(arrays[f"v/{leaf}"] @ matrix @ u)
    frozen, trainable = freeze(undivided, sigmas, str(path))
    return ExportedGenerator(
        model=model,
        params=frozen,
        statistics={
            round(row / (settings["n_stats"] - 1), 6): unflatten(
                {leaf: arrays[f"statistics/{leaf}"][row] for leaf in statistics}
            )
            for row in range(settings["n_stats"])
        },
        truncation_kind="scale",
        generator=trainable,
        discriminator=None,
        provenance={"format": FORMAT, "files": {"config.json": config_sha256, path.name: sha256}},
    )


def _read_settings(path: Path) -> tuple[dict[str, Any], str]:
    content = read_bytes(path)
    try:
        settings = parse_json(content)
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); get it again") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} is no config of pytorch-pretrained-biggan: it is not a JSON object")
    for name in NUMBERS:
        if type(settings.get(name)) is not int or not 1 <= settings[name] <= LARGEST:
            raise UserError(
                f"{path}: {name} is {settings.get(name)!r}, must be an integer from 1 to {LARGEST}"
            )
    if type(settings.get("eps")) is not float or not 0 < settings["eps"] < 1:
        raise UserError(f"{path}: eps is {settings.get('eps')!r}, must be a number such as 0.0001")
    if settings["n_stats"] < 2:
        raise UserError(f"{path}: n_stats is 1, must be 2 or more for truncations from 0 to 1")
    layers = settings.get("layers")
    if not isinstance(layers, list) or not all(
        isinstance(layer, list) and list(map(type, layer)) == [bool, int, int] for layer in layers
    ):
        raise UserError(f"{path}: layers must list [upsample, in, out] for each block, not {layers!r:.80}")
    return settings, hashlib.sha256(content).hexdigest()


def _model(settings: dict[str, Any], source: str) -> ConfigDict:
    """Returns the `model` section, if every second layer upsamples and the others keep their width."""
    layers, position = settings["layers"], settings["attention_layer_position"]
    widths = [FIRST_WIDTH]
    for index, (up, before, after) in enumerate(layers):
        halves_or_keeps = up and before in (after, 2 * after)  # The shortcut drops half of the channels.
        if up != bool(index % 2) or before != widths[-1] or not (halves_or_keeps or before == after):
            raise UserError(
                f"{source}: layer {index} is [{up}, {before}, {after}]; the networks here begin with "
                f"{FIRST_WIDTH}, upsample in every second layer, and may halve the width only there"
            )
        if up:
            widths.append(after)
    resolution = INITIAL_RESOLUTION << (len(layers) // 2)
    if len(layers) % 2 or widths[-1] != 1 or resolution != settings["output_dim"]:
        raise UserError(
            f"{source}: {len(layers)} layers that end at {widths[-1]} channel_width have no output of "
            f"{settings['output_dim']} px; get the file again"
        )
    attention = 0
    if position < len(layers):
        if position % 2:
            raise UserError(
                f"{source}: attention_layer_position is {position}; the networks here have attention after a "
                "layer that upsamples"
            )
        attention = INITIAL_RESOLUTION << (position // 2)
    return model_section(
        source,
        deep=True,
        widths=[width * settings["channel_width"] for width in widths],
        num_classes=settings["num_classes"],
        latent_dim=settings["z_dim"],
        class_embedding_dim=settings["z_dim"],
        hierarchical=False,
        attention_resolution=attention,
        epsilon=settings["eps"],
    )


def _module(path: str, attention_block: int) -> str:
    """Returns the name of a module in the file, which counts attention among the blocks."""
    fixed = {
        "linear": "generator.gen_z",
        "conv": "generator.conv_to_rgb",
        "norm": "generator.bn",
        "norm/normalize": "generator.bn",
        "class_embedding": "embeddings",
        "attention": f"generator.layers.{attention_block}",
    }
    if path in fixed:
        return fixed[path]
    if attention := re.fullmatch(r"attention/(\w+)", path):
        name = {"o": "o_conv"}.get(attention[1], attention[1])
        return f"generator.layers.{attention_block}.snconv1x1_{name}"
    block, layer, number, rest = parse_layer(path)
    layers = f"generator.layers.{int(block) + (int(block) >= attention_block)}"
    kind = {"conv": "conv", "norm": "bn"}[layer]
    part = {"gain": ".scale", "bias": ".offset"}.get(rest or "", "")
    return f"{layers}.{kind}_{int(number) - 1}{part}"


def _parameter(leaf: str, shape: ParameterShape, name: str, channel_width: int) -> dict[str, Tensor]:
    """Returns the tensors of the file that one parameter needs, by key for `collect`."""
    kind = leaf.rpartition("/")[2]
    if leaf.startswith("conv/"):
        shape = (*shape[:-1], channel_width)  # all outputs; `freeze` takes three
    if kind == "embedding":
        return {f"params/{leaf}": Tensor(f"{name}.weight", shape[::-1], np.transpose)}
    if kind == "gamma":
        return {f"params/{leaf}": Tensor(f"{name}.gamma", (1,), np.squeeze)}
    if kind != "kernel":
        return {f"params/{leaf}": Tensor(f"{name}.{'weight' if kind == 'gain' else kind}", shape)}

    def inputs_last(v: np.ndarray) -> np.ndarray:
        return v.reshape(shape[-2], *shape[:-2]).transpose(1, 2, 0).ravel() if len(shape) == 4 else v

    torch_shape, convert = from_torch(shape)
    return {
        f"params/{leaf}": Tensor(f"{name}.weight_orig", torch_shape, convert),
        f"u/{leaf}": Tensor(f"{name}.weight_u", shape[-1:]),
        f"v/{leaf}": Tensor(f"{name}.weight_v", (int(np.prod(shape[:-1])),), inputs_last),
    }
