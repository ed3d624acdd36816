"""TF-Hub's modules: the images they stand for, and what is said of modules with faults.

Names and shapes are those of the published modules, with few channels.
"""

import hashlib

import jax
import numpy as np
import pytest
from drawing import images_of, inputs
from tfhub_files import (
    ROWS,
    batch_norms,
    generate,
    random_tables,
    random_variables,
    write_checkpoint,
    write_graph,
)

from biggan_jax.exports.weights import saved_model
from biggan_jax.exports.weights.tfhub import read_tfhub
from biggan_jax.exports.weights.tfhub_names import DEEP as DEEP_NAMES
from biggan_jax.exports.weights.tfhub_names import PLAIN as PLAIN_NAMES
from biggan_jax.exports.weights.tfhub_names import infer_model
from biggan_jax.models.architecture import GENERATOR_CHANNELS
from biggan_jax.runtime.errors import UserError

PLAIN = {"widths": [32, 24, 16, 8], "deep": False, "attention": 16}
DEEP = {"widths": [32, 24, 16, 8], "deep": True, "attention": 16, "outputs": 5}
SMALL = {"widths": [16, 8], "deep": False, "attention": None}
SMALL_DEEP = {"widths": [16, 8], "deep": True, "attention": None, "outputs": 8}


def write_module(folder, make, seed=0):
    variables = random_variables(**make, seed=seed)
    write_checkpoint(folder / "variables" / "variables", variables)
    blocks = (len(make["widths"]) - 1) * (2 if make["deep"] else 1)
    tables = random_tables(batch_norms(make["deep"], blocks), variables, ROWS[make["deep"]])
    write_graph(folder / "saved_model.pb", list(tables.values()))
    return variables, tables


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, expected",
    [
        (PLAIN, dict(architecture="biggan", latent_dim=16, hierarchical_latents=True)),
        (DEEP, dict(architecture="biggan_deep", latent_dim=4, hierarchical_latents=False)),
    ],
    ids=["BigGAN", "BigGAN-deep"],
)
def test_images_are_those_of_the_modules_network_at_each_truncation(tmp_path, make, expected):
    variables, tables = write_module(tmp_path, make)
    imported = read_tfhub(tmp_path)
    expected |= dict(resolution=32, channels=8, generator_channels=(4, 3, 2, 1), attention_resolution=16)
    expected |= dict(num_classes=3, class_embedding_dim=6, epsilon=1e-4)
    assert {field: imported.model[field] for field in expected} == expected
    rows = ROWS[make["deep"]]
    assert list(imported.statistics) == [0.0, *np.arange(1, 51) / 50][-rows:]
    z, labels = inputs(imported)
    for row, truncation in ((rows - 31, 0.4), (rows - 1, 1.0)):
        wanted = generate(
            variables,
            z,
            labels,
            attention_size=expected["attention_resolution"],
            statistics=lambda name, row=row: tables[name][row].astype(np.float64),
        )
        assert 0.1 < np.std(wanted) < 0.9
        np.testing.assert_allclose(images_of(imported, z, labels, truncation), wanted, atol=1e-4)


@pytest.mark.parametrize(
    "resolution, deep, latent, attention",
    [
        (128, False, 120, 64),
        (256, False, 140, 128),  # not 64 px, other than in the paper
        (512, False, 128, 64),
        (128, True, 128, 64),
        (256, True, 128, 64),
        (512, True, 128, 64),
    ],
)
def test_the_published_modules_are_recognized_by_their_shapes(resolution, deep, latent, attention):
    """Of an eighth of the width or less; their attention is at the resolution that the converters know."""
    widths = [8 * multiple for multiple in GENERATOR_CHANNELS[resolution]]
    chunk = latent if deep else latent // len(widths)
    at = widths[(attention // 4).bit_length() - 1]
    variables = random_variables(widths, deep=deep, attention=at, classes=9, embedding=128, chunk=chunk)
    shapes = {name: tensor.shape for name, tensor in variables.items()}
    model = infer_model(shapes, DEEP_NAMES if deep else PLAIN_NAMES, "module")
    assert (model.architecture, model.resolution) == ("biggan_deep" if deep else "biggan", resolution)
    assert (model.channels, model.generator_channels, model.discriminator_channels) == (8, (), ())
    assert (model.latent_dim, model.hierarchical_latents) == (latent, not deep)
    assert (model.attention_resolution, model.num_classes) == (attention, 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "deep, channels, chunk, parameters",
    [(False, 96, 20, 70_433_988), (True, 128, 128, 50_244_484)],
    ids=["biggan-128", "biggan-deep-128"],
)
def test_a_checkpoint_of_the_published_size_is_read_whole(tmp_path, deep, channels, chunk, parameters):
    widths = [channels * multiple for multiple in GENERATOR_CHANNELS[128]]
    variables = random_variables(
        widths,
        deep=deep,
        attention=widths[4],
        classes=1000,
        embedding=128,
        chunk=chunk,
        outputs=channels if deep else 3,
    )
    write_checkpoint(tmp_path / "model", variables)
    imported = read_tfhub(tmp_path / "model")
    assert sum(leaf.size for leaf in jax.tree.leaves(imported.params)) == parameters
    model = imported.model
    assert (model.channels, model.attention_resolution, model.num_classes) == (channels, 64, 1000)


@pytest.mark.parametrize("make", [SMALL, SMALL_DEEP], ids=["BigGAN", "BigGAN-deep"])
@pytest.mark.parametrize("scope", ["", "module/"])
def test_a_checkpoint_alone_gives_the_statistics_of_truncation_1(tmp_path, make, scope):
    variables = random_variables(**make)
    write_checkpoint(tmp_path / "model.ckpt-7", variables, scope)
    imported = read_tfhub(tmp_path / "model.ckpt-7")
    assert list(imported.statistics) == [1.0] and imported.truncation_kind == "scale"

    def statistics(name):
        return variables[f"{name}/accumulated_mean"], variables[f"{name}/accumulated_var"]

    z, labels = inputs(imported)
    wanted = generate(variables, z, labels, attention_size=0, statistics=statistics)
    np.testing.assert_allclose(images_of(imported, z, labels, 1.0), wanted, atol=1e-4)
    for path in (tmp_path, tmp_path / "model.ckpt-7.index"):
        jax.tree.map(np.testing.assert_array_equal, read_tfhub(path).params, imported.params)


def test_without_any_statistics_there_are_none_to_draw_with(tmp_path):
    variables = {name: x for name, x in random_variables(**SMALL).items() if "/accum" not in name}
    write_checkpoint(tmp_path / "model", variables)
    assert read_tfhub(tmp_path / "model").statistics == {}


def test_averages_are_drawn_from_and_other_variables_are_passed_over(tmp_path):
    variables = random_variables(**SMALL)
    write_checkpoint(tmp_path / "whole", variables)
    needed = {
        name: x
        for name, x in variables.items()
        if "ema_" in name or name.endswith(("/u0", "/accumulated_mean", "/accumulated_var"))
    }
    assert len(needed) < len(variables) / 1.5
    write_checkpoint(tmp_path / "needed", needed | {"Discriminator/linear/w": np.zeros((2, 2), np.float32)})
    one, two = (read_tfhub(tmp_path / name) for name in ("whole", "needed"))
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)


def test_all_files_that_were_read_are_known_by_their_hashes(tmp_path):
    write_module(tmp_path, SMALL_DEEP)
    provenance = read_tfhub(tmp_path).provenance
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert provenance["format"] == "tfhub" and len(files) == 3
    assert provenance["files"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_all_variables_that_are_missing_surplus_or_misshapen_are_named(tmp_path):
    variables = random_variables(**SMALL)
    del variables["Generator/GBlock/conv_sc/u0"], variables["Generator/GBlock/HyperBN_1/beta/w/ema_b999900"]
    variables["Generator/GBlock/conv2/w"] = np.zeros((3, 3, 8, 8), np.float32)
    variables["Generator/conv_2d/b/ema_b999900"] = np.zeros(4, np.float32)
    write_checkpoint(tmp_path / "model", variables)
    with pytest.raises(UserError) as caught:
        read_tfhub(tmp_path / "model")
    message = str(caught.value)
    assert "Generator/GBlock/HyperBN_1/beta/w/ema_b999900, Generator/GBlock/conv_sc/u0; surplus" in message
    assert "surplus: Generator/GBlock/conv2/w; of another shape" in message
    assert "shape: Generator/conv_2d/b/ema_b999900 [4] in place of [3])" in message


@pytest.mark.parametrize("layer", ["linear", "Generator/G_Z/G_linear", "Generator/GBlock/conv1"])
def test_a_variable_that_the_architecture_is_read_from_is_named_if_it_is_missing(tmp_path, layer):
    variables = random_variables(**SMALL)
    del variables[f"{layer}/w/ema_b999900"]
    write_checkpoint(tmp_path / "model", variables)
    with pytest.raises(UserError, match=f"missing: {layer}/w/ema_b999900"):
        read_tfhub(tmp_path / "model")


def test_attention_whose_place_its_width_does_not_tell_is_refused(tmp_path):
    make = {"widths": [32, 16, 16, 8], "deep": False, "attention": 16}
    write_checkpoint(tmp_path / "model", random_variables(**make))
    with pytest.raises(UserError, match="attention is 16 channels wide, and so are 2 of the feature maps"):
        read_tfhub(tmp_path / "model")


def test_what_is_no_checkpoint_of_a_biggan_is_refused_by_name(tmp_path):
    def refuse(words, path):
        with pytest.raises(UserError, match=words):
            read_tfhub(path)

    refuse("neither the folder .*nothing nor the checkpoint .*nothing.index exists", tmp_path / "nothing")
    refuse("has 0 checkpoints", tmp_path)
    write_checkpoint(tmp_path / "other", {"dense/kernel": np.zeros((2, 2), np.float32)})
    refuse("other is no published BigGAN: .*it holds dense/kernel …", tmp_path / "other")
    write_checkpoint(tmp_path / "model", random_variables(**SMALL))
    refuse("has 2 checkpoints", tmp_path)


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_broken_checkpoints_are_refused_by_name(tmp_path, part, damage):
    write_checkpoint(tmp_path / "model", random_variables(**SMALL))
    path = tmp_path / f"model.{part}"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        for place in range(len(content) // 2, len(content), 50):
            content[place] ^= 0x10
    path.write_bytes(content[: {"cut": len(content) // 2, "empty": 0}.get(damage, len(content))])
    with pytest.raises(UserError, match="model is damaged"):
        read_tfhub(tmp_path / "model")


def test_broken_graphs_are_refused_by_name_and_those_without_tables_are_passed_over(tmp_path, caplog):
    variables, tables = write_module(tmp_path, SMALL)
    graph = tmp_path / "saved_model.pb"
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="saved_model.pb is damaged"):
        read_tfhub(tmp_path)
    graph.write_bytes(b"")
    assert list(read_tfhub(tmp_path).statistics) == [1.0]
    assert "no statistics by truncation" in caplog.text
    variances = next(iter(tables.values()))[:, 1]
    variances[7, 0] = -1
    write_graph(graph, list(tables.values()))
    with pytest.raises(UserError, match="saved_model.pb has statistics.*variances below 0"):
        read_tfhub(tmp_path)
    write_graph(graph, [table[:20] for table in tables.values()])
    with pytest.raises(UserError, match="statistics at 20 truncations, and a published module at 50 or 51"):
        read_tfhub(tmp_path)


def test_a_constant_that_declares_more_numbers_than_it_has_makes_no_table(tmp_path):
    """A few bytes could ask for any amount of memory."""
    from tensorflow.core.protobuf import saved_model_pb2

    _, tables = write_module(tmp_path, SMALL)
    widths = [table.shape[2] for table in tables.values()]
    content = (tmp_path / "saved_model.pb").read_bytes()
    found = saved_model.standing_statistics(content, widths, "name")
    np.testing.assert_array_equal(found[0], next(iter(tables.values()))[:, 0])
    module = saved_model_pb2.SavedModel.FromString(content)
    node = next(node for node in module.meta_graphs[0].graph_def.node if node.name == "stack_1/values_0")
    tensor = node.attr["value"].tensor
    tensor.tensor_shape.dim[0].size = 2**50
    tensor.ClearField("tensor_content")
    tensor.float_val.append(0.5)  # which is to be repeated
    assert saved_model.standing_statistics(module.SerializeToString(), widths, "name") is None


@pytest.mark.parametrize("scope", ["", "module_apply_default/"])
@pytest.mark.parametrize("others", ["unlike", "alike", "none"])
def test_tables_are_found_in_any_scope_and_among_other_stacks(tmp_path, scope, others):
    variables = random_variables(**SMALL)
    tables = random_tables(batch_norms(False, 1), variables, 50)
    write_graph(tmp_path / "saved_model.pb", list(tables.values()), scope, others)
    content = (tmp_path / "saved_model.pb").read_bytes()
    found = saved_model.standing_statistics(content, [table.shape[2] for table in tables.values()], "name")
    wanted = [table[:, part] for table in tables.values() for part in (0, 1)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
