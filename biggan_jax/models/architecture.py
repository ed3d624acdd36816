"""Which blocks each network is made of: the channel tables of BigGAN and BigGAN-deep.

Brock et al. 2019, appendix B (tables 4 to 9). Widths are multiples of `model.channels` (the
paper's *ch*); a table in the config takes the place of the paper's, so small networks are configs too.
"""

import dataclasses
import itertools
import math

from ml_collections import ConfigDict

ARCHITECTURES = ("biggan", "biggan_deep")
INITIAL_RESOLUTION = 4  # the generator's first feature map, and the discriminator's last, is 4×4
REDUCTION = 4  # BigGAN-deep's bottleneck: hidden width = width / 4

# resolution: widths from the 4×4 map upward, first the input of the first block, then each block's output.
GENERATOR_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# resolution: each block's output, from the image downward. BigGAN-deep reads the first number as the width
# of its initial convolution and every other one as the width after a downsampling.
DISCRIMINATOR_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
# Only CIFAR's discriminator stops before 4×4: it ends at 8×8.
DISCRIMINATOR_DOWNSAMPLE = {32: (1, 1, 0, 0)}


@dataclasses.dataclass(frozen=True)
class Block:
    """One residual block: output width, whether it changes resolution, whether attention follows it."""

    in_channels: int
    out_channels: int
    resample: bool
    resolution: int  # of its output
    attention: bool = False


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The resolved tables of one generator and discriminator pair."""

    generator_blocks: tuple[Block, ...]
    discriminator_blocks: tuple[Block, ...]
    deep: bool


def resolve(model: ConfigDict) -> Architecture:
    """Turns the `model` section of a config into blocks.

    Args:
      model: a ConfigDict with `architecture`, `resolution`, `channels`, `attention_resolution`,
        `generator_channels`, `discriminator_channels` and `discriminator_downsample`.

    Raises:
      ValueError: the fields describe no network; the message names field, value and remedy.
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
    """BigGAN-deep's have no convolution that could change the width the other way."""
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
    # BigGAN's first block reads the image itself; BigGAN-deep has a convolution before its first.
    for (before, after), down in zip(
        itertools.pairwise(widths if deep else [3, *widths]), downsample, strict=True
    ):
        resolution = resolution // 2 if down else resolution
        attention = down and resolution == attention_resolution  # after all that changes the resolution
        blocks.append(Block(before, after, down, resolution, attention and not deep))
        if deep:
            blocks.append(Block(after, after, False, resolution, attention))
    return tuple(blocks)


def _check_attention(blocks: tuple[Block, ...], resolution: int, network: str) -> None:
    if resolution and not any(block.attention for block in blocks):
        known = sorted({block.resolution for block in blocks if block.resample})
        raise ValueError(
            f"model.attention_resolution = {resolution}: {network} has no block that brings the map to it; "
            f"choose one of {known}, or 0 for no attention"
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
