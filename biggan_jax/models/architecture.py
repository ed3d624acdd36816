"""Blocks of the networks: the channel tables of BigGAN and BigGAN-deep.

Brock et al. 2019, appendix B, tables 4 to 9. Widths are multiples of `model.channels` (the paper's *ch*). A
table in the config replaces the paper's, so smaller networks are configs too.
"""

import dataclasses
import itertools
import math

from ml_collections import ConfigDict

ARCHITECTURES = ("biggan", "biggan_deep")
INITIAL_RESOLUTION = 4  # of the first feature map of G and the last of D
REDUCTION = 4  # BigGAN-deep's bottleneck: hidden width = width / 4

# Widths by resolution from the 4×4 map upward: the input of the first block, then the output of each block.
GENERATOR_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# Widths by resolution from the image downward: the output of each block. In BigGAN-deep the first number is
# the width of the initial convolution, and each other number the width after a downsampling.
DISCRIMINATOR_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
# Only the discriminator for CIFAR ends before 4×4, at 8×8.
DISCRIMINATOR_DOWNSAMPLE = {32: (1, 1, 0, 0)}


@dataclasses.dataclass(frozen=True)
class Block:
    """One residual block.

    Attributes:
      in_channels: Width of the input.
      out_channels: Width of the output.
      resample: Whether the block changes the resolution.
      resolution: Resolution of the output.
      attention: Whether self-attention follows the block.
    """

    in_channels: int
    out_channels: int
    resample: bool
    resolution: int
    attention: bool = False


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Blocks of a generator and its discriminator.

    Attributes:
      generator_blocks: Blocks of G, from 4×4 upward.
      discriminator_blocks: Blocks of D, from the image downward.
      deep: Whether the networks are BigGAN-deep.
    """

    generator_blocks: tuple[Block, ...]
    discriminator_blocks: tuple[Block, ...]
    deep: bool


def resolve(model: ConfigDict) -> Architecture:
    """Converts the `model` section of a config to blocks.

    Args:
      model: The section, with `architecture`, `resolution`, `channels`, `attention_resolution`,
        `generator_channels`, `discriminator_channels` and `discriminator_downsample`.

    Raises:
      ValueError: If the fields describe no network; the message names field, value and remedy.
    """
    if model.architecture not in ARCHITECTURES:
        raise ValueError(f"model.architecture = {model.architecture!r}: choose one of {ARCHITECTURES}")
    deep = model.architecture == "biggan_deep"
    if model.channels < 1:
        raise ValueError(f"model.channels = {model.channels}: the base width must be at least 1")
    resolution = model.resolution
    doublings = math.log2(resolution / INITIAL_RESOLUTION) if resolution > INITIAL_RESOLUTION else 0.5
    if doublings != int(doublings):
        raise ValueError(
            f"model.resolution = {resolution}: must be 4 doubled once or more; the paper's tables are for "
            f"{sorted(GENERATOR_CHANNELS)}"
        )
    doublings = int(doublings)

    g_widths = _table(model, "generator_channels", GENERATOR_CHANNELS)
    if len(g_widths) != doublings + 1:
        raise ValueError(
            f"model.generator_channels = {g_widths}: {resolution} px takes {doublings + 1} widths, "
            f"one for the 4×4 map and one for each of {doublings} doublings"
        )
    d_widths = _table(model, "discriminator_channels", DISCRIMINATOR_CHANNELS)
    downsample = _downsample(model, d_widths, doublings, deep)
    if deep:
        _check_shortcuts(g_widths, d_widths)

    attention = model.attention_resolution
    generator = _generator_blocks([w * model.channels for w in g_widths], attention, deep)
    discriminator = _discriminator_blocks(
        [w * model.channels for w in d_widths], downsample, resolution, attention, deep
    )
    _check_attention(generator, attention, "the generator")
    _check_attention(discriminator, attention, "the discriminator")
    _check_widths(generator + discriminator, deep)
    return Architecture(generator, discriminator, deep)


def conditioning_name(model: ConfigDict) -> str:
    """Returns the name of a config's conditioning, an entry of `conditioning.CONDITIONINGS`."""
    return model.conditioning or ("shared_embedding" if model.shared_embedding else "class_tables")


def _table(model: ConfigDict, field: str, tables: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    widths = tuple(model[field]) or tables.get(model.resolution)
    if widths is None:
        raise ValueError(
            f"model.resolution = {model.resolution}: the paper has tables for {sorted(tables)}; for another "
            f"resolution give your own in model.{field}"
        )
    if any(width < 1 for width in widths):
        raise ValueError(f"model.{field} = {widths}: every width must be at least 1 (a multiple of channels)")
    return widths


def _downsample(model: ConfigDict, widths: tuple[int, ...], doublings: int, deep: bool) -> tuple[bool, ...]:
    given = tuple(model.discriminator_downsample)
    if deep:
        if given:
            raise ValueError(
                f"model.discriminator_downsample = {given}: leave it empty for biggan_deep, which "
                "downsamples once for every width after the first"
            )
        if len(widths) != doublings + 1:
            raise ValueError(
                f"model.discriminator_channels = {widths}: biggan_deep at {model.resolution} px takes "
                f"{doublings + 1} widths, the first convolution's and one for each of {doublings} halvings"
            )
        return (True,) * doublings
    if not given and not model.discriminator_channels:
        given = DISCRIMINATOR_DOWNSAMPLE.get(model.resolution, ())
    if not given:
        given = tuple(index < doublings for index in range(len(widths)))
    if len(given) != len(widths):
        raise ValueError(
            f"model.discriminator_downsample = {given}: must have one entry for each of the "
            f"{len(widths)} blocks in model.discriminator_channels"
        )
    if model.resolution >> sum(map(bool, given)) < 1:
        raise ValueError(
            f"model.discriminator_downsample = {given}: {model.resolution} px cannot be halved "
            f"{sum(map(bool, given))} times"
        )
    return tuple(map(bool, given))


def _check_shortcuts(g_widths: tuple[int, ...], d_widths: tuple[int, ...]) -> None:
    """Refuses widths that the shortcuts of BigGAN-deep, which only drop or only add channels, cannot give."""
    if list(g_widths) != sorted(g_widths, reverse=True):
        raise ValueError(
            f"model.generator_channels = {g_widths}: biggan_deep's shortcuts only drop channels; give widths "
            "that never grow from 4×4 upward"
        )
    if list(d_widths) != sorted(d_widths):
        raise ValueError(
            f"model.discriminator_channels = {d_widths}: biggan_deep's shortcuts only add channels; give "
            "widths that never shrink from the image downward"
        )


def _generator_blocks(widths: list[int], attention_resolution: int, deep: bool) -> tuple[Block, ...]:
    blocks = []
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        resolution = INITIAL_RESOLUTION << index
        if deep:
            blocks.append(Block(before, before, False, resolution))
        blocks.append(Block(before, after, True, 2 * resolution, 2 * resolution == attention_resolution))
    return tuple(blocks)


def _discriminator_blocks(
    widths: list[int], downsample: tuple[bool, ...], resolution: int, attention_resolution: int, deep: bool
) -> tuple[Block, ...]:
    blocks = []
    # The first block of BigGAN reads the image; BigGAN-deep has a convolution before its first block.
    for (before, after), down in zip(
        itertools.pairwise(widths if deep else [3, *widths]), downsample, strict=True
    ):
        resolution = resolution // 2 if down else resolution
        attention = (
            down and resolution == attention_resolution
        )  # after the last block that changes the resolution
        blocks.append(Block(before, after, down, resolution, attention and not deep))
        if deep:
            blocks.append(Block(after, after, False, resolution, attention))
    return tuple(blocks)


def _check_attention(blocks: tuple[Block, ...], resolution: int, network: str) -> None:
    if resolution and not any(block.attention for block in blocks):
        resolutions = sorted({block.resolution for block in blocks if block.resample})
        raise ValueError(
            f"model.attention_resolution = {resolution}: {network} has no block that brings the map to it; "
            f"choose one of {resolutions}, or 0 for no attention"
        )


def _check_widths(blocks: tuple[Block, ...], deep: bool) -> None:
    for block in blocks:
        if block.attention and block.out_channels % 8:
            raise ValueError(
                f"model.channels: attention at {block.resolution} px needs a width divisible by 8, not "
                f"{block.out_channels}"
            )
        if deep and (block.in_channels % REDUCTION or block.out_channels % REDUCTION):
            raise ValueError(
                f"model.channels: biggan_deep needs widths divisible by {REDUCTION}, not "
                f"{block.in_channels} → {block.out_channels}"
            )
