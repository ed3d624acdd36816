"""BigGAN-PyTorch's files: the images and logits they stand for, and what is said of files with faults."""

import dataclasses
import hashlib
import os
import pickle
import re

import jax
import numpy as np
import pytest
import torch_writer
from biggan_pytorch_files import discriminator_state, generate, generator_state, judge
from drawing import images_of, inputs

from biggan_jax.config import default_config, validate
from biggan_jax.exports.weights.biggan_pytorch import read_biggan_pytorch
from biggan_jax.models.networks import make_discriminator
from biggan_jax.models.spectral_norm import normalize, power_iteration
from biggan_jax.runtime.errors import UserError

CIFAR = {"widths": [16, 16, 16, 16], "embedding": 0, "chunk": 7}
SPLIT_128 = {"widths": [128, 128, 64, 32, 16, 8], "attention": 3}
SPLIT_256 = {"widths": [64, 64, 32, 32, 16, 8, 4], "attention": 3}
UNSPLIT_16 = {"widths": [24, 16, 8], "attention": 0, "unsplit": True}
DEEP_64 = {"widths": [64, 64, 32, 16, 8], "deep": True, "attention": 5, "colours": 5}
DEEP_16 = {"widths": [24, 16, 8], "deep": True, "attention": 1, "colours": 5}


def write(path, state, legacy=False):
    path.write_bytes(torch_writer.save(state, legacy))
    return path


@pytest.mark.parametrize(
    "make, expected",
    [
        (CIFAR, dict(resolution=32, channels=4, latent_dim=7, shared_embedding=False)),
        (SPLIT_128, dict(resolution=128, channels=8, latent_dim=24, hierarchical_latents=True)),
        (SPLIT_256, dict(resolution=256, channels=4, generator_channels=(), latent_dim=28)),
        (UNSPLIT_16, dict(generator_channels=(3, 2, 1), latent_dim=4, hierarchical_latents=False)),
        (DEEP_16, dict(architecture="biggan_deep", resolution=16, channels=8, attention_resolution=8)),
    ],
    ids=["32 px, tables by class", "128 px, split z", "256 px", "16 px, own widths, whole z", "16 px, deep"],
)
def test_images_are_those_of_the_files_own_network(tmp_path, make, expected):
    state = generator_state(**make)
    imported = read_biggan_pytorch(write(tmp_path / "G_ema.pth", state))
    assert {field: imported.model[field] for field in expected} == expected
    assert (
        imported.model.num_classes == 5 and imported.model.epsilon == 1e-5 and imported.discriminator is None
    )
    z, labels = inputs(imported)
    wanted = generate(state, z, labels)
    assert 0.1 < np.std(wanted) < 0.9
    np.testing.assert_allclose(images_of(imported, z, labels), wanted, atol=1e-4)
    config = default_config()
    config.model.update(imported.model)
    config.data.source = "tfds:own"
    validate(config)


@pytest.mark.parametrize(
    "generator, widths, downsample, make",
    [
        (CIFAR, [24, 24, 24, 24], (1, 1, 0, 0), {}),
        (SPLIT_128, [8, 16, 32, 64, 128, 128], (1, 1, 1, 1, 1, 0), {"attention": 0}),
        (SPLIT_256, [4, 8, 16, 32, 32, 64, 64], (1, 1, 1, 1, 1, 1, 0), {"attention": 1}),
        (DEEP_16, [8, 8, 16], (1, 1), {"deep": True, "attention": 0}),
    ],
    ids=["32 px, wider than G", "128 px", "256 px", "16 px, deep"],
)
def test_logits_are_those_of_the_files_own_network(tmp_path, generator, widths, downsample, make):
    state = discriminator_state(widths, downsample, **make)
    imported = read_biggan_pytorch(
        write(tmp_path / "G.pth", generator_state(**generator)), write(tmp_path / "D.pth", state)
    )
    network = imported.discriminator
    weights = normalize(network.params, power_iteration(network.params, network.u, 1e-12), 1e-12)
    rng = np.random.default_rng(0)
    size = imported.model.resolution
    images, labels = rng.uniform(-1, 1, (2, size, size, 3)), rng.integers(5, size=2)
    logits = jax.jit(make_discriminator(imported.model).apply)({"params": weights}, images, labels)
    np.testing.assert_allclose(logits, judge(state, images, labels, downsample), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [CIFAR, DEEP_16], ids=["plain", "deep with outputs that are not used"])
def test_training_goes_on_from_a_generator_that_draws_the_same_images(tmp_path, make):
    """Above all where σ was of five outputs, of which three are kept."""
    imported = read_biggan_pytorch(write(tmp_path / "G.pth", generator_state(**make)))
    network = imported.generator
    assert network.params["conv"]["kernel"].shape[-1] == len(network.u["conv/kernel"]) == 3
    weights = normalize(network.params, power_iteration(network.params, network.u, 1e-5), 1e-5)
    z, labels = inputs(imported)
    again = dataclasses.replace(imported, params=weights)
    np.testing.assert_allclose(images_of(again, z, labels), images_of(imported, z, labels), atol=1e-5)


@pytest.mark.parametrize(
    "mean, variance, passes",
    [
        ("bn.running_mean", "bn.running_var", None),  # --cross_replica
        ("bn.stored_mean", "bn.stored_var", 0.0),  # --mybn, running averages
        ("bn.stored_mean", "bn.stored_var", 16.0),  # --mybn, sums of standing statistics
    ],
)
def test_every_way_of_keeping_statistics_gives_the_same_ones(tmp_path, mean, variance, passes):
    plain, other = generator_state(**CIFAR), {}
    for name, tensor in plain.items():
        if name.endswith("stored_mean"):
            layer = name.removesuffix("stored_mean")
            other[layer + mean] = tensor * np.float32(passes or 1)
            if passes is not None:
                other[f"{layer}bn.accumulation_counter"] = np.float32([passes])
            else:
                other[f"{layer}bn.num_batches_tracked"] = np.array(7)
        elif name.endswith("stored_var"):
            other[name.removesuffix("stored_var") + variance] = tensor * np.float32(passes or 1)
        else:
            other[name] = tensor
    wanted = read_biggan_pytorch(write(tmp_path / "plain.pth", plain))
    imported = read_biggan_pytorch(write(tmp_path / "other.pth", other), truncation=0.5)
    assert list(imported.statistics) == [0.5] and imported.truncation_kind == "threshold"
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
        imported.statistics[0.5],
        wanted.statistics[0.0],
    )


def test_further_singular_vectors_and_half_precision_and_the_old_format_change_nothing(tmp_path):
    state = generator_state(**CIFAR)
    more = {}
    for name, tensor in state.items():
        more[name] = tensor.astype(np.float16).astype(np.float64) if name.endswith("weight") else tensor
        if name.endswith(".u0"):
            more[name.replace(".u0", ".u1")] = tensor
    half = {
        name: tensor.astype(np.float16) if name.endswith("weight") else tensor
        for name, tensor in state.items()
    }
    one = read_biggan_pytorch(write(tmp_path / "G.pth", more, legacy=True))
    two = read_biggan_pytorch(write(tmp_path / "G.pth", half))
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    arrays = (two.params, two.statistics, two.generator.params, two.generator.u)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(arrays)} == {"float32"}


def test_the_files_are_known_by_their_hashes(tmp_path):
    g = write(tmp_path / "G.pth", generator_state(**CIFAR))
    d = write(tmp_path / "D.pth", discriminator_state([16] * 4, (1, 1, 0, 0)))
    provenance = read_biggan_pytorch(g, d).provenance
    assert provenance["format"] == "biggan-pytorch"
    assert provenance["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (g, d)
    }


def test_all_tensors_that_are_missing_surplus_or_misshapen_are_named(tmp_path):
    state = generator_state(**SPLIT_128)
    del state["blocks.3.1.o.weight"], state["output_layer.0.stored_mean"]
    state["more"] = np.zeros((3, 2), np.float32)
    state["blocks.2.0.conv1.weight"] = state["blocks.2.0.conv1.weight"][1:]
    with pytest.raises(UserError) as caught:
        read_biggan_pytorch(write(tmp_path / "G.pth", state))
    message = str(caught.value)
    assert "(missing: blocks.3.1.o.weight, output_layer.0.stored_mean; surplus: more; of another" in message
    assert "another shape: blocks.2.0.conv1.weight [31, 64, 3, 3] in place of [32, 64, 3, 3])" in message


def test_of_many_tensors_twelve_are_named_and_the_others_counted(tmp_path):
    state = generator_state(**SPLIT_128)
    gone = [name for name in state if re.match(r"blocks.1.0.(bn|conv1)", name)]
    kept = {name: tensor for name, tensor in state.items() if name not in gone}
    with pytest.raises(UserError) as caught:
        read_biggan_pytorch(write(tmp_path / "G.pth", kept))
    missed = sorted(name for name in gone if not name.endswith("sv0"))  # which nothing reads
    assert f"missing: {', '.join(missed[:12])} and {len(missed) - 12} more)" in str(caught.value)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("blocks.1.0.conv1.weight", np.nan, "not finite: blocks.1.0.conv1.weight"),
        ("blocks.1.0.bn1.stored_var", np.inf, "not finite: blocks.1.0.bn1.stored_var"),
        ("blocks.1.0.bn1.stored_var", -1e-3, "variances below 0: blocks.1.0.bn1.stored_var"),
        ("blocks.1.0.conv1.weight", 0.0, "no scale for block_1/conv_1/kernel"),
        ("output_layer.2.u0", 0.0, "no scale for conv/kernel"),
    ],
)
def test_numbers_that_nothing_can_be_drawn_from_are_refused(tmp_path, name, value, words):
    state = generator_state(**CIFAR)
    state[name] = np.full_like(state[name], value)
    with pytest.raises(UserError, match=words):
        read_biggan_pytorch(write(tmp_path / "G.pth", state))


def test_whole_numbers_where_weights_should_be_are_refused(tmp_path):
    state = generator_state(**CIFAR)
    state["linear.bias"] = state["linear.bias"].astype(np.int64)
    with pytest.raises(UserError, match=r"not of floating-point numbers: linear.bias\)"):
        read_biggan_pytorch(write(tmp_path / "G.pth", state))


@pytest.mark.parametrize("name", ["linear.weight", "blocks.0.0.bn1.gain.weight"])
def test_a_tensor_that_the_architecture_is_read_from_is_named_if_it_is_missing(tmp_path, name):
    state = generator_state(**CIFAR)
    del state[name]
    with pytest.raises(UserError, match=f"missing: {name}\\)"):
        read_biggan_pytorch(write(tmp_path / "G.pth", state))


def test_networks_that_are_not_built_here_are_refused_with_the_reason(tmp_path):
    def refuse(words, state, opponent=None):
        paths = [write(tmp_path / "G.pth", state)]
        if opponent is not None:
            paths.append(write(tmp_path / "D.pth", opponent))
        with pytest.raises(UserError, match=words):
            read_biggan_pytorch(*paths)

    twice = generator_state(**SPLIT_128)
    twice |= {name.replace(".3.1.", ".4.1."): x for name, x in twice.items() if ".3.1." in name}
    refuse(r"attention follows blocks \[3, 4\]", twice)
    other = generator_state(**SPLIT_128)
    other["linear.weight"] = np.zeros((2048, 5), np.float32)
    refuse("linear.weight has 5 inputs and blocks.0.0.bn1.gain.weight has 10", other)
    refuse("no network of BigGAN-PyTorch: it has no blocks .it holds epoch …", {"epoch": np.zeros(1)})
    plain = generator_state(**SPLIT_128)
    refuse("D.pth is no discriminator of BigGAN-PyTorch: it has no embed", plain, plain)
    refuse("G.pth .*missing: blocks.0.0.bn1.gain.weight", discriminator_state([16] * 4, (1, 1, 0, 0)))
    for_64 = discriminator_state([8, 16, 32, 64, 128], (1, 1, 1, 1, 0), attention=0)
    refuse("D.pth holds a discriminator for 64 px, and .*G.pth a generator for 128 px", plain, for_64)
    without = discriminator_state([8, 16, 32, 64, 128, 128], (1, 1, 1, 1, 1, 0))
    refuse(r"D.pth: attention follows blocks \[\]; .*64 px.*after blocks \[0\]", plain, without)
    deep = generator_state([64, 32, 16, 16], deep=True)
    refuse("deep discriminator for 32 px", deep, discriminator_state([4, 8, 16, 16], (1, 1, 0), deep=True))
    narrow = discriminator_state([8, 16, 32, 64, 128, 128], (1, 1, 1, 1, 1, 0), attention=0)
    narrow["blocks.2.0.conv1.weight"] = np.zeros((16, 16, 3, 3), np.float32)  # --D_wide off
    refuse(r"D.pth .*blocks.2.0.conv1.weight \[16, 16, 3, 3\] in place of \[32, 16, 3, 3\]", plain, narrow)


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", "hostile", "nested", None])
def test_hostile_and_broken_files_are_refused_by_name_and_nothing_is_run(tmp_path, content):
    path = tmp_path / "G.pth"
    if content == "hostile":
        data = pickle.dumps({"linear.weight": Hostile(tmp_path / "was here")}, 2)
        path.write_bytes(torch_writer.zip_file(data, {}))
    elif content == "nested":
        write(path, {"state_dict": generator_state(**CIFAR)})
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="G.pth"):
        read_biggan_pytorch(path)
    assert not (tmp_path / "was here").exists()
