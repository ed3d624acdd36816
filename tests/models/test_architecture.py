"""The tables of BigGAN and BigGAN-deep against the paper's, and the refusal of tables that fit nothing."""

import pytest
from ml_collections import ConfigDict

from biggan_jax.models.architecture import resolve

# resolution: (G in, G out, D in, D out, D blocks that downsample), in multiples of ch; 0 is the RGB image.
BIGGAN = {
    32: ((4, 4, 4), (4, 4, 4), (0, 4, 4, 4), (4, 4, 4, 4), (1, 1, 0, 0)),
    64: ((16, 16, 8, 4), (16, 8, 4, 2), (0, 1, 2, 4, 8), (1, 2, 4, 8, 16), (1, 1, 1, 1, 0)),
    128: (
        (16, 16, 8, 4, 2),
        (16, 8, 4, 2, 1),
        (0, 1, 2, 4, 8, 16),
        (1, 2, 4, 8, 16, 16),
        (1, 1, 1, 1, 1, 0),
    ),
    256: (
        (16, 16, 8, 8, 4, 2),
        (16, 8, 8, 4, 2, 1),
        (0, 1, 2, 4, 8, 8, 16),
        (1, 2, 4, 8, 8, 16, 16),
        (1, 1, 1, 1, 1, 1, 0),
    ),
    512: (
        (16, 16, 8, 8, 4, 2, 1),
        (16, 8, 8, 4, 2, 1, 1),
        (0, 1, 1, 2, 4, 8, 8, 16),
        (1, 1, 2, 4, 8, 8, 16, 16),
        (1, 1, 1, 1, 1, 1, 1, 0),
    ),
}
# resolution: (G's blocks as (up, in, out), D's as (down, in, out)).
DEEP = {
    128: (
        [
            *[(0, 16, 16), (1, 16, 16), (0, 16, 16), (1, 16, 8), (0, 8, 8), (1, 8, 4)],
            *[(0, 4, 4), (1, 4, 2), (0, 2, 2), (1, 2, 1)],
        ],
        [
            *[(1, 1, 2), (0, 2, 2), (1, 2, 4), (0, 4, 4), (1, 4, 8), (0, 8, 8)],
            *[(1, 8, 16), (0, 16, 16), (1, 16, 16), (0, 16, 16)],
        ],
    ),
    256: (
        [
            *[(0, 16, 16), (1, 16, 16), (0, 16, 16), (1, 16, 8), (0, 8, 8), (1, 8, 8)],
            *[(0, 8, 8), (1, 8, 4), (0, 4, 4), (1, 4, 2), (0, 2, 2), (1, 2, 1)],
        ],
        [
            *[(1, 1, 2), (0, 2, 2), (1, 2, 4), (0, 4, 4), (1, 4, 8), (0, 8, 8), (1, 8, 8), (0, 8, 8)],
            *[(1, 8, 16), (0, 16, 16), (1, 16, 16), (0, 16, 16)],
        ],
    ),
}
CH = 8


def model(**fields):
    values = dict(
        architecture="biggan",
        resolution=128,
        channels=CH,
        attention_resolution=0,
        generator_channels=(),
        discriminator_channels=(),
        discriminator_downsample=(),
    )
    return ConfigDict(values | fields)


def widths(multiples, channels=CH):
    return tuple(m * channels or 3 for m in multiples)


@pytest.mark.parametrize("resolution", BIGGAN)
def test_biggan_has_the_papers_widths_and_downsampling(resolution):
    g_in, g_out, d_in, d_out, down = BIGGAN[resolution]
    architecture = resolve(model(resolution=resolution))
    generator, discriminator = architecture.generator_blocks, architecture.discriminator_blocks
    assert tuple(block.in_channels for block in generator) == widths(g_in)
    assert tuple(block.out_channels for block in generator) == widths(g_out)
    assert all(block.resample for block in generator)
    assert tuple(block.in_channels for block in discriminator) == widths(d_in)
    assert tuple(block.out_channels for block in discriminator) == widths(d_out)
    assert tuple(block.resample for block in discriminator) == tuple(map(bool, down))
    assert not architecture.deep


@pytest.mark.parametrize("resolution", DEEP)
def test_biggan_deep_has_the_papers_blocks(resolution):
    architecture = resolve(model(architecture="biggan_deep", resolution=resolution))
    for blocks, expected in zip(
        (architecture.generator_blocks, architecture.discriminator_blocks), DEEP[resolution], strict=True
    ):
        table = [(int(block.resample), block.in_channels // CH, block.out_channels // CH) for block in blocks]
        assert table == expected
    assert architecture.deep


@pytest.mark.parametrize("resolution", [64, 128, 256, 512])
def test_generator_ends_at_the_images_resolution_and_discriminator_at_4x4(resolution):
    for name in ("biggan", "biggan_deep"):
        architecture = resolve(model(architecture=name, resolution=resolution))
        assert architecture.generator_blocks[-1].resolution == resolution
        assert architecture.discriminator_blocks[-1].resolution == 4


def test_cifars_discriminator_ends_at_8x8():
    assert [block.resolution for block in resolve(model(resolution=32)).discriminator_blocks] == [16, 8, 8, 8]


def attention_after(blocks):
    return [(index, block.resolution) for index, block in enumerate(blocks) if block.attention]


@pytest.mark.parametrize(
    ("name", "resolution", "at", "in_generator", "in_discriminator"),
    [
        # BigGAN: after the block that brings the map to 64×64.
        ("biggan", 128, 64, 3, 0),
        ("biggan", 256, 64, 3, 1),
        ("biggan", 512, 64, 3, 2),
        ("biggan", 64, 32, 2, 0),
        # Deep: in G after the upsampling block; in D after the whole stage, so after two blocks a halving.
        ("biggan_deep", 128, 64, 7, 1),
        ("biggan_deep", 256, 64, 7, 3),
    ],
)
def test_attention_stands_once_where_the_map_has_its_resolution(
    name, resolution, at, in_generator, in_discriminator
):
    architecture = resolve(model(architecture=name, resolution=resolution, attention_resolution=at))
    assert attention_after(architecture.generator_blocks) == [(in_generator, at)]
    assert attention_after(architecture.discriminator_blocks) == [(in_discriminator, at)]


def test_attention_is_not_repeated_by_blocks_that_keep_its_resolution():
    # 8×8 is reached by the second of these blocks and kept by two more.
    architecture = resolve(model(resolution=32, attention_resolution=8))
    assert attention_after(architecture.discriminator_blocks) == [(1, 8)]


def test_no_attention_where_its_resolution_is_zero():
    architecture = resolve(model(attention_resolution=0))
    assert not attention_after(architecture.generator_blocks + architecture.discriminator_blocks)


def test_own_tables_take_the_place_of_the_papers_at_any_resolution():
    architecture = resolve(
        model(resolution=16, generator_channels=(4, 2, 1), discriminator_channels=(1, 2, 3, 3))
    )
    assert [block.out_channels for block in architecture.generator_blocks] == [2 * CH, CH]
    assert [block.out_channels for block in architecture.discriminator_blocks] == [CH, 2 * CH, 3 * CH, 3 * CH]
    # 16 → 8 → 4 by the first two blocks; the others keep 4×4.
    assert [block.resample for block in architecture.discriminator_blocks] == [True, True, False, False]


def test_own_discriminator_table_at_32_does_not_inherit_cifars_downsampling():
    blocks = resolve(model(resolution=32, discriminator_channels=(1, 1, 1, 1))).discriminator_blocks
    assert [block.resample for block in blocks] == [True, True, True, False]


def test_own_downsampling_pattern_is_kept():
    fields = dict(discriminator_channels=(1, 1, 1), discriminator_downsample=(0, 1, 1))
    blocks = resolve(model(resolution=16, generator_channels=(1, 1, 1), **fields)).discriminator_blocks
    assert [(block.resample, block.resolution) for block in blocks] == [(False, 16), (True, 8), (True, 4)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(architecture="biggan-deep"), ["model.architecture", "'biggan-deep'", "biggan_deep"]),
        (dict(channels=0), ["model.channels", "0"]),
        (dict(resolution=100), ["model.resolution", "100"]),
        (dict(resolution=4), ["model.resolution", "4"]),
        (dict(resolution=1024), ["model.resolution", "1024", "512"]),
        (dict(generator_channels=(4, 2, 1)), ["model.generator_channels", "(4, 2, 1)", "6"]),
        (dict(generator_channels=(4, 4, 4, 2, 1, 0)), ["model.generator_channels", "at least 1"]),
        (dict(discriminator_channels=(1, 0)), ["model.discriminator_channels", "at least 1"]),
        (dict(discriminator_downsample=(1, 1)), ["model.discriminator_downsample", "(1, 1)", "6"]),
        (
            dict(discriminator_channels=(1,) * 8, discriminator_downsample=(1,) * 8),
            ["model.discriminator_downsample", "128", "8"],
        ),
        (dict(attention_resolution=48), ["model.attention_resolution", "48", "64"]),
        (dict(attention_resolution=4), ["model.attention_resolution", "the generator", "8"]),
        (dict(attention_resolution=128), ["model.attention_resolution", "the discriminator", "64"]),
        (dict(channels=6, attention_resolution=64), ["model.channels", "8"]),
        (dict(architecture="biggan_deep", channels=2), ["model.channels", "4"]),
        (
            dict(architecture="biggan_deep", discriminator_channels=(1, 2)),
            ["model.discriminator_channels", "(1, 2)", "6"],
        ),
        (
            dict(architecture="biggan_deep", discriminator_downsample=(1,) * 5),
            ["model.discriminator_downsample", "empty"],
        ),
        (
            dict(architecture="biggan_deep", generator_channels=(4, 4, 2, 2, 4, 1)),
            ["model.generator_channels", "grow"],
        ),
        (
            dict(architecture="biggan_deep", discriminator_channels=(1, 2, 4, 2, 4, 4)),
            ["model.discriminator_channels", "shrink"],
        ),
    ],
)
def test_tables_that_describe_no_network_are_refused_with_field_value_and_remedy(fields, words):
    with pytest.raises(ValueError) as error:
        resolve(model(**fields))
    for word in words:
        assert word in str(error.value)
