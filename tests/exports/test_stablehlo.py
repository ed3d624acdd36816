"""The sampler as a program: the images of the sampler, for any batch, without this package and its paths."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest
from tiny_exports import CLASSES, LATENT, SIZE, make_exported

from biggan_jax.exports import stablehlo
from biggan_jax.exports.stablehlo import sampler_program
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler

# Runs a program where neither this package nor any library but JAX's own can be imported.
ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"biggan_jax", "flax", "optax", "orbax", "ml_collections", "etils"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy as np, jax, jax.export
program, inputs, images = sys.argv[1:]
with open(program, "rb") as file:
    sampler = jax.jit(jax.export.deserialize(bytearray(file.read())).call)
given = np.load(inputs)
np.save(images, sampler(given["z"], given["labels"], given["truncation"]))
"""


def loaded(exported):
    return jax.jit(jax.export.deserialize(bytearray(sampler_program(exported))).call)


@pytest.fixture(scope="module")
def exported():
    return make_exported((0.25, 0.5, 1.0, 0.0))


@pytest.fixture(scope="module")
def content(exported):
    return sampler_program(exported)


@pytest.fixture(scope="module")
def program(content):
    return jax.jit(jax.export.deserialize(bytearray(content)).call)


def assert_same_images(program, sampler, truncation, count=9):
    z = sampler.latents(count, truncation, seed=4)
    labels = np.arange(count, dtype=np.int32) % CLASSES
    found = np.asarray(program(z, labels, np.float32(truncation)))
    expected = sampler.images(z, labels, truncation)
    assert found.dtype == np.uint8 and found.shape == (count, SIZE, SIZE, 3) and expected.std() > 20
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("truncation", [0.25, 0.3, 0.5, 0.77, 1.0, 1.6, 4.0, 30.0, 0.0])
def test_its_images_are_the_samplers_at_and_between_stored_truncations(program, exported, truncation):
    assert_same_images(program, Sampler(exported), truncation)


@pytest.mark.parametrize("truncation", [0.02, 0.05, 0.333, 1.0])
def test_truncations_by_scale_are_interpolated_by_scale(truncation):
    exported = make_exported((0.02, 0.04, 0.06, 0.5, 1.0), kind="scale")
    assert_same_images(loaded(exported), Sampler(exported), truncation)


@pytest.mark.parametrize(
    "fields",
    [
        {"model.architecture": "biggan_deep", "model.hierarchical_latents": False},
        {"model.shared_embedding": False, "model.hierarchical_latents": False},
        {
            "model.resolution": 16,
            "model.generator_channels": (2, 1, 1),
            "model.discriminator_channels": (1, 1, 1),
            "model.attention_resolution": 8,
        },
    ],
)
def test_every_kind_of_generator_makes_a_program(fields):
    exported = make_exported((0.0,), **fields)
    sampler = Sampler(exported)
    z, labels = sampler.latents(5), np.array([0, 1, 2, 0, 1], np.int32)
    found = np.asarray(loaded(exported)(z, labels, np.float32(0)))
    assert np.abs(found.astype(int) - sampler.images(z, labels)).max() <= 1


def test_in_bfloat16_its_images_are_the_samplers_on_average():
    exported = make_exported((0.0,), **{"model.dtype": "bfloat16"})
    sampler = Sampler(exported)
    z, labels = sampler.latents(20), np.arange(20, dtype=np.int32) % CLASSES
    found = np.asarray(loaded(exported)(z, labels, np.float32(0)))
    assert np.abs(found.astype(int) - sampler.images(z, labels)).mean() < 1


def test_a_truncation_beyond_the_stored_ones_has_the_statistics_of_the_nearest():
    exported = make_exported((0.5, 1.0))
    program, sampler = loaded(exported), Sampler(exported)
    labels = np.array([0, 1], np.int32)
    z = sampler.latents(2, 0.5)
    for truncation, nearest in {0.1: 0.5, 3.0: 1.0, 0.0: 1.0}.items():
        found = np.asarray(program(z, labels, np.float32(truncation)))
        assert np.abs(found.astype(int) - sampler.images(z, labels, nearest)).max() <= 1


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_batch_may_have_any_size(program, exported, count):
    assert_same_images(program, Sampler(exported), 0.5, count)


def test_it_is_for_three_platforms_and_has_no_calls_of_unstable_kernels(content):
    found = jax.export.deserialize(bytearray(content))
    assert found.platforms == ("cpu", "cuda", "tpu")
    assert not found.disabled_safety_checks
    assert [str(aval) for aval in found.in_avals] == [f"float32[b,{LATENT}]", "int32[b]", "float32[]"]
    module = found.mlir_module()
    custom = {line.split("@")[1].split("(")[0] for line in module.splitlines() if "custom_call @" in line}
    assert custom <= {"shape_assertion"}  # which JAX resolves itself, when the batch is known


def test_it_knows_no_path_of_this_machine(content):
    module = jax.export.deserialize(bytearray(content))
    everything = content + str(module.mlir_module()).encode()
    for folder in (Path(stablehlo.__file__).parents[2], Path(sys.prefix), Path.home(), Path(__file__).parent):
        if folder != Path("/"):
            assert os.fsencode(folder) not in everything, folder
    assert b"generator.py" in everything  # the names of files are there


def test_the_setting_that_hides_paths_is_put_back(exported, monkeypatch):
    before = jax.config.jax_hlo_source_file_canonicalization_regex
    monkeypatch.setattr(jax.export, "export", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sampler_program(exported)
    assert jax.config.jax_hlo_source_file_canonicalization_regex == before


def test_weights_too_large_for_a_file_are_refused_before_the_work(exported, monkeypatch):
    monkeypatch.setattr(stablehlo, "LARGEST", 10_000)
    monkeypatch.setattr(jax.export, "export", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=r"--stablehlo: .* GB, and such a file holds 2 GB"):
        sampler_program(exported)


def test_without_flatbuffers_the_error_says_what_to_install(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    monkeypatch.delitem(sys.modules, "jax._src.export.serialization", raising=False)
    with pytest.raises(UserError, match="pip install flatbuffers"):
        sampler_program(exported)


def test_jax_alone_runs_it(content, exported, tmp_path):
    (tmp_path / "sampler.stablehlo").write_bytes(content)
    sampler = Sampler(exported)
    z, labels = sampler.latents(4, 0.6), np.array([0, 1, 2, 0], np.int32)
    np.savez(tmp_path / "inputs.npz", z=z, labels=labels, truncation=np.float32(0.6))
    names = [tmp_path / name for name in ("sampler.stablehlo", "inputs.npz", "images.npy")]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *names], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "images.npy")
    assert np.abs(found.astype(int) - sampler.images(z, labels, 0.6)).max() <= 1
