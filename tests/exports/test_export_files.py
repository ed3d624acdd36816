"""Exports on disk: what is written comes back, and nothing that is broken or hostile passes for an export."""

import dataclasses
import hashlib
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tiny_exports import assert_same, make_exported

from biggan_jax.exports.export_files import (
    CONFIG,
    GENERATOR,
    TRAINING,
    read_export,
    read_model,
    refuse_used,
    write_export,
)
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.json_digest import json_digest


@pytest.fixture(scope="module")
def exported():
    return make_exported(training=True)


@pytest.fixture
def folder(tmp_path, exported):
    write_export(tmp_path / "export", exported, {"README.md": b"card"})
    return tmp_path / "export"


def change_config(folder, **fields):
    """Changes fields of the config and its SHA-256, as somebody would who wants it to be taken for whole."""
    config = json.loads((folder / CONFIG).read_text()) | fields
    del config["sha256"]
    (folder / CONFIG).write_text(json.dumps(config | {"sha256": json_digest(config)}))


def change_tensors(folder, change, name=GENERATOR):
    """Changes a file of tensors and its SHA-256, as somebody would who wants it to be taken for whole."""
    tensors = safetensors.numpy.load_file(folder / name)
    change(tensors)
    content = safetensors.numpy.save({key: np.ascontiguousarray(value) for key, value in tensors.items()})
    (folder / name).write_bytes(content)
    files = json.loads((folder / CONFIG).read_text())["files"]
    change_config(folder, files=files | {name: hashlib.sha256(content).hexdigest()})


def refused(folder, words, training=True):
    with pytest.raises(UserError, match=words):
        read_export(folder, training=training)


def test_what_is_written_comes_back_bit_by_bit(folder, exported):
    assert_same(read_export(folder, training=True), exported)
    assert (folder / "README.md").read_bytes() == b"card"
    assert read_model(folder) == exported.model


@pytest.mark.parametrize("change", [("0.5", "0.6"), ('"format"', '"former"')], ids=str)
def test_a_config_that_has_changed_since_the_export_is_refused(folder, change):
    text = (folder / CONFIG).read_text()
    assert change[0] in text
    (folder / CONFIG).write_text(text.replace(*change))
    refused(folder, "config.json (has changed since it was exported|does not belong)")


def test_an_export_of_an_older_version_is_read_and_said_to_be_unverified(folder, exported, caplog):
    config = json.loads((folder / CONFIG).read_text())
    del config["sha256"]
    (folder / CONFIG).write_text(json.dumps(config))
    assert_same(read_export(folder, training=True), exported)
    assert "config.json was written without a digest, so it could not be verified" in caplog.text


def test_networks_to_train_on_are_read_only_when_asked_for(folder):
    (folder / TRAINING).write_bytes(b"not even looked at")
    found = read_export(folder)
    assert found.generator is None and found.discriminator is None


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "scale", "truncations": (0.02, 0.5, 1.0), "names": ()},
        {"truncations": (1 / 3, 1e-05), "model.dtype": "bfloat16"},
        {"truncations": (), "names": ("<b>", "a|b\n", "日本")},
        {"truncations": (0.0,), "model.latent_distribution": "uniform"},
        {"model.shared_embedding": False, "model.hierarchical_latents": False},
        {
            "model.architecture": "biggan_deep",
            "model.hierarchical_latents": False,
            "training": True,
        },
    ],
)
def test_every_kind_of_generator_comes_back(fields, tmp_path):
    exported = make_exported(**fields)
    write_export(tmp_path / "export", exported)
    assert_same(read_export(tmp_path / "export", training=True), exported)


def test_a_generator_without_a_discriminator_comes_back(tmp_path, exported):
    alone = dataclasses.replace(exported, discriminator=None)
    write_export(tmp_path / "export", alone)
    assert_same(read_export(tmp_path / "export", training=True), alone)


def test_a_folder_without_an_export_is_refused(tmp_path):
    refused(tmp_path, "is no export: config.json is missing")
    refused(tmp_path / "nowhere", "is no export")


@pytest.mark.parametrize("name", [GENERATOR, TRAINING])
def test_a_missing_cut_or_changed_file_is_refused_by_name(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    refused(folder, f"{name} is (damaged|not the file)")
    (folder / name).write_bytes(content[:20])
    refused(folder, f"{name} is damaged")
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(folder, f"{name} is not the exported file")
    (folder / name).unlink()
    refused(folder, f"cannot read .*{name}: No such file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "config.json is damaged"),
        (b"\xff\xfe", "config.json is damaged"),
        (b'{"format": "biggan_jax exp', "config.json is damaged"),
        (b"[" * 100_000, "config.json is damaged"),
        (b"[]", "does not belong to an export"),
        (b'{"output_dim": 128}', "does not belong to an export.*import_weights reads other formats"),
    ],
)
def test_a_config_that_is_no_exports_is_refused(folder, content, words):
    (folder / CONFIG).write_bytes(content)
    refused(folder, words)


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_version_is_refused(folder, version):
    change_config(folder, version=version)
    refused(folder, "has version .* install a newer biggan_jax")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("truncations", None, "truncations is None"),
        ("truncations", [True], "truncations is"),
        ("truncations", [-1.0], "config.json: truncation = -1.0"),
        ("truncations", [float("nan")], "config.json: truncation = nan"),
        ("truncations", [0.7], "missing: statistics/0.7/"),
        ("truncations", [0.5], "surplus: statistics/0.0/"),
        ("truncation_kind", "threshhold", "truncation_kind is 'threshhold'"),
        ("truncation_kind", ["scale"], "truncation_kind is"),
        ("class_names", ["a", "b"], "has 2 names for 3 classes"),
        ("class_names", [1, 2, 3], "class_names is"),
        ("class_names", "abc", "class_names is"),
        ("provenance", [], "provenance is"),
        ("files", None, "files is"),
        ("files", {}, "not the exported file"),
        ("model", None, "cannot be built"),
        ("model", [1], "cannot be built"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(folder, field, value, words):
    change_config(folder, **{field: value})
    refused(folder, words)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_size", 6),
        ("architecture", "stylegan"),
        ("resolution", 9),
        ("resolution", -8),
        ("channels", 0),
        ("channels", "8"),
        ("num_classes", 0),
        ("num_classes", 2.5),
        ("latent_dim", 0),
        ("latent_dim", 7),
        ("class_embedding_dim", -1),
        ("generator_channels", [2]),
        ("generator_channels", ["2", "1"]),
        ("latent_distribution", "cauchy"),
        ("dtype", "float99"),
        ("dtype", "int8"),
        ("epsilon", 0),
        ("epsilon", float("nan")),
        ("attention_resolution", 16),
        ("remat", 1),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_its_field(folder, field, value):
    model = json.loads((folder / CONFIG).read_text())["model"] | {field: value}
    change_config(folder, model=model)
    refused(folder, f"config.json: its network cannot be built .*{field}")


def test_a_network_too_large_for_any_machine_is_refused_without_making_it(folder):
    model = json.loads((folder / CONFIG).read_text())["model"]
    change_config(folder, model=model | {"channels": 10**5, "num_classes": 10**7}, class_names=[])
    refused(folder, "of another shape")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("params/conv/bias"), "missing: params/conv/bias"),
        (
            lambda t: t.pop("statistics/0.5/norm/normalize/mean"),
            "missing: statistics/0.5/norm/normalize/mean",
        ),
        (lambda t: t.update({"params/extra": np.zeros(1, np.float32)}), "surplus: params/extra"),
        (lambda t: t.update({"../../x": np.zeros(1, np.float32)}), r"surplus: \.\./\.\./x"),
        (
            lambda t: t.update({"params/conv/bias": np.zeros(4, np.float32)}),
            r"of another shape: params/conv/bias \[4\] in place of \[3\]",
        ),
        (
            lambda t: t.update({"params/conv/bias": np.full(3, np.nan, np.float32)}),
            "not finite: params/conv/bias",
        ),
        (
            lambda t: t.update({"params/conv/bias": np.zeros(3, np.int32)}),
            "not of floating-point numbers: params/conv/bias",
        ),
        (
            lambda t: t.update(
                {k: -v for k, v in t.items() if k == "statistics/0.5/norm/normalize/variance"}
            ),
            "variances below 0: statistics/0.5/norm/normalize/variance",
        ),
    ],
)
def test_tensors_of_another_network_are_named(folder, change, words):
    change_tensors(folder, change)
    refused(folder, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("generator/u/conv/kernel"), "missing: generator/u/conv/kernel"),
        (lambda t: t.pop("discriminator/params/linear/bias"), "missing: discriminator/params/linear/bias"),
        (lambda t: t.update({"discriminator/u/x": np.zeros(3, np.float32)}), "surplus: discriminator/u/x"),
        (lambda t: t.update({"other/u/x": np.zeros(3, np.float32)}), "surplus: other/u/x"),
    ],
)
def test_tensors_of_another_network_to_train_on_are_named(folder, change, words):
    change_tensors(folder, change, TRAINING)
    refused(folder, words)
    read_export(folder)  # drawing does not look at them


def test_a_pickle_in_place_of_tensors_is_not_executed(folder, tmp_path):
    mark = tmp_path / "executed"
    content = b"cos\nsystem\n(S'touch " + os.fsencode(mark) + b"'\ntR."
    (folder / GENERATOR).write_bytes(content)
    refused(folder, "generator.safetensors is damaged")
    assert not mark.exists()


def test_a_folder_in_use_is_left_alone(tmp_path, exported):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for place in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(UserError, match="exists already: remove it, or choose another --output"):
            write_export(place, exported)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_an_empty_folder_and_one_whose_parents_are_missing_are_written(tmp_path, exported, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for place in (Path("."), tmp_path / "a" / "b"):
        refuse_used(place)
        write_export(place, exported)
    for place in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert_same(read_export(place, training=True), exported)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, exported):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))  # of one file: the weights take more
    try:
        with pytest.raises(UserError, match="cannot write .*: File too large; free some space"):
            write_export(tmp_path / "export", exported)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("other images")])
def test_an_export_that_is_stopped_or_fails_its_check_is_gone(tmp_path, exported, error):
    seen = []

    def check(folder):
        seen.append(read_export(folder))  # is whole, and has another name yet
        assert not (tmp_path / "export").exists()
        raise error

    with pytest.raises(type(error) if isinstance(error, UserError) else error):
        write_export(tmp_path / "export", exported, check=check)
    assert len(seen) == 1 and not list(tmp_path.iterdir())


def test_what_a_killed_export_left_is_cleared_away(tmp_path, exported):
    (tmp_path / ".export.part").mkdir()
    (tmp_path / ".export.part" / GENERATOR).write_bytes(b"half")
    write_export(tmp_path / "export", exported)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [CONFIG, GENERATOR, TRAINING]


def test_a_parent_that_is_a_file_is_an_error_and_not_a_traceback(tmp_path, exported):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot (read|write)"):
        write_export(tmp_path / "file" / "export", exported)
