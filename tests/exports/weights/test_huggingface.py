"""Folders of pytorch-pretrained-biggan: the images they stand for, and what is said of faulty ones."""

import dataclasses
import hashlib
import json
import os
import pickle

import numpy as np
import pytest
import safetensors.numpy
import torch_writer
from drawing import images_of, inputs
from huggingface_files import CONFIG, generate, random_state, write_folder

from biggan_jax.exports.weights.huggingface import read_huggingface
from biggan_jax.models.spectral_norm import normalize, power_iteration
from biggan_jax.runtime.errors import UserError

STATE = random_state(CONFIG)


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "biggan-deep", CONFIG, STATE)
    return tmp_path / "biggan-deep"


def change_config(folder, **fields):
    (folder / "config.json").write_text(json.dumps(CONFIG | fields))


def test_images_are_those_of_the_folders_own_network_at_each_truncation(folder):
    imported = read_huggingface(folder)
    assert list(imported.statistics) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    z, labels = inputs(imported)
    for row, truncation in ((2, 0.4), (5, 1.0)):
        wanted = generate(CONFIG, STATE, z, labels, row)
        assert 0.1 < np.std(wanted) < 0.9
        np.testing.assert_allclose(images_of(imported, z, labels, truncation), wanted, atol=1e-4)


def test_the_model_section_is_that_of_the_config_in_the_folder(folder):
    imported = read_huggingface(folder)
    expected = dict(
        architecture="biggan_deep",
        resolution=64,
        channels=4,
        generator_channels=(16, 8, 4, 2, 1),
        num_classes=3,
        latent_dim=5,
        class_embedding_dim=5,
        shared_embedding=True,
        attention_resolution=32,
        epsilon=1e-4,
        dtype="float32",
    )
    assert {field: imported.model[field] for field in expected} == expected
    assert imported.truncation_kind == "scale" and imported.discriminator is None
    assert imported.provenance["format"] == "huggingface"
    assert imported.provenance["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }


def test_training_goes_on_from_a_generator_that_draws_the_same_images(folder):
    """Although σ was of all outputs of the last convolution, of which three are kept."""
    state = dict(STATE)
    for name in STATE:
        if name.endswith("weight_orig"):  # vectors on which a power iteration changes nothing
            matrix = STATE[name].reshape(len(STATE[name]), -1)
            left, _, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
            state[name.replace("orig", "u")] = np.float32(left[:, 0])
            state[name.replace("orig", "v")] = np.float32(right[0])
    write_folder(folder, CONFIG, state)
    imported = read_huggingface(folder)
    network = imported.generator
    weights = normalize(network.params, power_iteration(network.params, network.u, 1e-4), 1e-4)
    z, labels = inputs(imported)
    again = dataclasses.replace(imported, params=weights)
    np.testing.assert_allclose(
        images_of(again, z, labels, 0.4), images_of(imported, z, labels, 0.4), atol=1e-4
    )


def test_safetensors_are_read_as_well_and_without_attention_too(folder):
    layers = CONFIG["layers"]
    config = CONFIG | {"attention_layer_position": len(layers)}
    state = random_state(config)
    write_folder(folder, config, state)
    one = read_huggingface(folder)
    assert one.model.attention_resolution == 0 and "attention" not in one.params
    (folder / "pytorch_model.bin").unlink()
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    two = read_huggingface(folder)
    assert list(two.provenance["files"]) == ["config.json", "model.safetensors"]
    for leaf in ("gain", "bias"):
        np.testing.assert_array_equal(one.params["norm"][leaf], two.params["norm"][leaf])
    z, labels = inputs(two, count=1)
    np.testing.assert_allclose(
        images_of(two, z, labels, 1.0), generate(config, state, z, labels, 5), atol=1e-4
    )


def test_all_tensors_that_are_missing_surplus_or_misshapen_are_named(folder):
    state = dict(STATE)
    del state["generator.layers.6.gamma"], state["generator.gen_z.weight_v"]
    state["generator.layers.9.conv_0.bias"] = np.zeros(3, np.float32)
    state["generator.bn.running_means"] = np.zeros((51, 4), np.float32)
    write_folder(folder, CONFIG, state)
    with pytest.raises(UserError) as caught:
        read_huggingface(folder)
    message = str(caught.value)
    assert "pytorch_model.bin does not hold" in message
    assert "(missing: generator.gen_z.weight_v, generator.layers.6.gamma; surplus: " in message
    assert "surplus: generator.layers.9.conv_0.bias; of another shape: generator.bn.running_means" in message
    assert "generator.bn.running_means [51, 4] in place of [6, 4])" in message


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"channel_width": "4"}, "channel_width is '4', must be an integer"),
        ({"n_stats": 1}, "n_stats is 1"),
        ({"num_classes": 10**30}, "num_classes is 10+, must be an integer"),
        ({"n_stats": True}, "n_stats is True"),
        ({"eps": None}, "eps is None, must be a number"),
        ({"layers": [[False, 16]]}, "layers must list"),
        ({"layers": 7}, "layers must list"),
        ({"layers": [[True, 16, 8], *CONFIG["layers"][1:]]}, r"layer 0 is \[True, 16, 8\]"),
        ({"layers": [[False, 8, 8], *CONFIG["layers"][1:]]}, r"layer 0 is \[False, 8, 8\].* begin with 16"),
        ({"layers": [[False, 16, 16], [True, 16, 4], *CONFIG["layers"][2:]]}, "halve the width"),
        ({"layers": CONFIG["layers"][:-1]}, "7 layers .* have no output of 64 px"),
        ({"output_dim": 128}, "8 layers .* have no output of 128 px"),
        ({"attention_layer_position": 5}, "attention_layer_position is 5"),
        ({"channel_width": 1}, "not supported: .*needs a width divisible by 8"),
    ],
)
def test_a_config_of_another_network_is_refused_by_its_field(folder, fields, words):
    change_config(folder, **fields)
    with pytest.raises(UserError, match=f"config.json.*{words}"):
        read_huggingface(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'"text"', b"[" * 100_000])
def test_a_config_that_is_no_config_is_refused_by_name(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="config.json"):
        read_huggingface(folder)


def test_files_that_are_not_there_are_named(folder):
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="cannot read .*pytorch_model.bin: No such file"):
        read_huggingface(folder)
    with pytest.raises(UserError, match=r"cannot read .*none/config.json: No such file"):
        read_huggingface(folder / "none")


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_hostile_and_broken_weights_are_refused_by_name_and_nothing_is_run(folder, name):
    data = pickle.dumps({"embeddings.weight": Hostile(folder / "was here")}, 2)
    whole = (folder / "pytorch_model.bin").read_bytes()
    for content in (data, torch_writer.zip_file(data, {}), whole[: len(whole) // 2], b""):
        (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_huggingface(folder)
    assert not (folder / "was here").exists()
