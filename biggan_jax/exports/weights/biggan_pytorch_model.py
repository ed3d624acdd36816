"""Architecture of a BigGAN-PyTorch state dict, inferred from the names and shapes of its tensors."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from biggan_jax.exports.weights.layout import refuse
from biggan_jax.exports.weights.model_section import model_section
from biggan_jax.models.architecture import INITIAL_RESOLUTION, resolve
from biggan_jax.runtime.errors import UserError

State = Mapping[str, np.ndarray]


def infer_model(
    generator: State, discriminator: State | None, source: str, opponent: str, epsilon: float
) -> ConfigDict:
    """Returns the `model` section of G, or of G and D.

    Args:
      generator: State dict of G.
      discriminator: State dict of D, or None.
      source: Name of G's file in errors.
      opponent: Name of D's file in errors.
      epsilon: Epsilon of the section.

    Raises:
      UserError: If the networks are not supported, or the tensors that decide are missing.
    """
    blocks = count_blocks(generator, source)
    deep = any(name.startswith("blocks.0.0.conv3.") for name in generator)
    depth, last = (
        (2, "conv4") if deep else (1, "conv2")
    )  # blocks for each resolution, and the last layer of a block
    widths = [_width(generator, "linear", source) // INITIAL_RESOLUTION**2]
    for index in range(depth - 1, blocks, depth):
        widths.append(_width(generator, f"blocks.{index}.0.{last}", source))
    latent, classes, embedding, hierarchical = _conditions(generator, blocks, deep, source)
    places = attention_places(generator, 1)
    if len(places) > 1 or any((place + 1) % depth for place in places):
        raise UserError(
            f"{source}: attention follows blocks {places}; the networks here have it once, after the last "
            "block of a resolution"
        )
    opponent_widths: Sequence[int] = ()
    if discriminator is not None:
        opponent_widths = _discriminator_widths(discriminator, deep, opponent)
        _check_size(len(opponent_widths) - 1, len(widths) - 1, deep, source, opponent)
    model = model_section(
        source,
        deep=deep,
        widths=widths,
        discriminator_widths=opponent_widths,
        num_classes=classes,
        latent_dim=latent,
        class_embedding_dim=embedding,
        hierarchical=hierarchical,
        attention_resolution=INITIAL_RESOLUTION << ((places[0] + 1) // depth) if places else 0,
        epsilon=epsilon,
    )
    if discriminator is not None:
        _check_attention(model, attention_places(discriminator, depth), opponent)
    return model


def count_blocks(state: State, source: str) -> int:
    """Returns the length of the file's list of blocks, of which some may be missing."""
    numbers = [int(match[1]) for name in state if (match := re.match(r"blocks\.(\d{1,3})\.", name))]
    if not numbers:
        some = ", ".join(sorted(state)[:4])
        raise UserError(f"{source} is no network of BigGAN-PyTorch: it has no blocks (it holds {some} …)")
    return max(numbers) + 1


def attention_places(state: State, position: int) -> list[int]:
    """Returns the entries that attention follows; it would be part number `position` of its entry."""
    pattern = re.compile(rf"blocks\.(\d{{1,3}})\.{position}\.(?:theta|phi|g|o|gamma)\b")
    return sorted({int(match[1]) for name in state if (match := pattern.match(name))})


def _width(state: State, layer: str, source: str) -> int:
    """Returns the number of outputs of a layer, from its weight or else from its bias or u0."""
    for part, axis in (("weight", 0), ("bias", 0), ("u0", -1)):
        if (tensor := state.get(f"{layer}.{part}")) is not None and tensor.ndim:
            return tensor.shape[axis]
    refuse(source, {"missing": [f"{layer}.weight"]})
    raise AssertionError


def _conditions(state: State, blocks: int, deep: bool, source: str) -> tuple[int, int, int, bool]:
    """Returns length of z, number of classes, length of the class embedding, and whether z is split."""
    first, norm, shared = "linear.weight", "blocks.0.0.bn1.gain.weight", "shared.weight"
    shapes = {name: state[name].shape for name in (first, norm, shared) if name in state}
    refuse(
        source,
        {
            "missing": {first, norm} - shapes.keys(),
            "of another shape": (
                f"{name} {list(shape)} in place of two axes"
                for name, shape in shapes.items()
                if len(shape) != 2
            ),
        },
    )
    inputs = shapes[first][1]
    if shared not in shapes:  # Batch norms have tables by class.
        return inputs, shapes[norm][0], 0, False
    classes, embedding = shapes[shared]
    chunk = shapes[norm][1] - embedding
    latent = inputs - embedding if deep else inputs
    if latent < 1 or chunk not in ((latent,) if deep else (0, latent)):
        raise UserError(
            f"{source}: {first} has {inputs} inputs and {norm} has {shapes[norm][1]}, with {embedding} "
            "numbers of class embedding: the networks here give both equally many of z, or norms none"
        )
    hierarchical = chunk > 0 and not deep
    return latent * (blocks + 1) if hierarchical else latent, classes, embedding, hierarchical


def _discriminator_widths(state: State, deep: bool, source: str) -> list[int]:
    """Returns the widths as in `model.discriminator_channels`, in channels."""
    if "embed.weight" not in state and "embed.u0" not in state:
        some = ", ".join(sorted(state)[:4])
        raise UserError(
            f"{source} is no discriminator of BigGAN-PyTorch: it has no embed (it holds {some} …)"
        )
    stages = range(count_blocks(state, source))
    if deep:
        first = _width(state, "input_conv", source)
        return [first, *(_width(state, f"blocks.{index}.1.conv4", source) for index in stages)]
    return [_width(state, f"blocks.{index}.0.conv2", source) for index in stages]


def _check_size(halvings: int, doublings: int, deep: bool, source: str, opponent: str) -> None:
    """Refuses a D for another resolution, which would run, since it sums over the last map."""
    if halvings != doublings:
        raise UserError(
            f"{opponent} holds a discriminator for {INITIAL_RESOLUTION << halvings} px, and {source} a "
            f"generator for {INITIAL_RESOLUTION << doublings} px"
        )
    if deep and INITIAL_RESOLUTION << doublings == 32:
        raise UserError(f"{opponent}: the deep discriminator for 32 px ends at 8×8, and the one here at 4×4")


def _check_attention(model: ConfigDict, places: list[int], source: str) -> None:
    depth = 2 if model.architecture == "biggan_deep" else 1
    blocks = resolve(model).discriminator_blocks
    expected = [index // depth for index, block in enumerate(blocks) if block.attention]
    if places != expected:
        raise UserError(
            f"{source}: attention follows blocks {places}; the networks here have it at the generator's "
            f"resolution ({model.attention_resolution} px, 0 = none), after blocks {expected}"
        )
