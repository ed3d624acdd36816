"""Other packages' files made an export: what it holds, what is said, and that bad files leave no trace."""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import torch_writer
from biggan_pytorch_files import discriminator_state, generate, generator_state, judge
from drawing import images_of, inputs
from etils import epath
from huggingface_files import CONFIG, random_state, write_folder
from rich.console import Console
from tfhub_files import batch_norms, random_tables, random_variables, write_checkpoint, write_graph

import biggan_jax
from biggan_jax.config import default_config
from biggan_jax.exports.export_files import read_export
from biggan_jax.exports.weights import importing
from biggan_jax.exports.weights.biggan_pytorch import read_biggan_pytorch
from biggan_jax.exports.weights.huggingface import read_huggingface
from biggan_jax.exports.weights.importing import Gathering, import_weights
from biggan_jax.exports.weights.tfhub import read_tfhub
from biggan_jax.models.networks import make_discriminator
from biggan_jax.models.spectral_norm import normalize, power_iteration
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.standing_statistics import standing_statistics
from biggan_jax.training.run.initialization import first_state

G_STATE = generator_state([16] * 4, embedding=0, chunk=7)
DOWNSAMPLE = (1, 1, 0, 0)
D_STATE = discriminator_state([16] * 4, DOWNSAMPLE)
MODULE = {"widths": [16, 8], "deep": False, "attention": None}


def write_huggingface(folder: Path) -> list[Path]:
    write_folder(folder, CONFIG, random_state(CONFIG))
    return [folder]


def write_biggan_pytorch(folder: Path) -> list[Path]:
    folder.mkdir()
    for name, state in (("G.pth", G_STATE), ("D.pth", D_STATE)):
        (folder / name).write_bytes(torch_writer.save(state, legacy=False))
    return [folder / "G.pth", folder / "D.pth"]


def write_tfhub(folder: Path) -> list[Path]:
    variables = random_variables(**MODULE)
    write_checkpoint(folder / "variables" / "variables", variables)
    tables = random_tables(batch_norms(False, 1), variables, 50)
    write_graph(folder / "saved_model.pb", list(tables.values()))
    return [folder]


FORMATS = {
    "huggingface": (write_huggingface, read_huggingface, 0.4),
    "biggan-pytorch": (write_biggan_pytorch, read_biggan_pytorch, 0.0),
    "tfhub": (write_tfhub, read_tfhub, 0.4),
}


def run(format: str, files: list[Path], output: Path, **options) -> str:
    """Imports, and returns what was said."""
    said = io.StringIO()
    import_weights(format, files, output, Console(file=said, markup=False, soft_wrap=True), **options)
    return said.getvalue()


def assert_same(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("format", FORMATS)
def test_the_export_holds_what_was_read_and_draws_it(tmp_path, format):
    write, read, truncation = FORMATS[format]
    files = write(tmp_path / "files")
    said = run(format, files, tmp_path / "export")
    expected, found = read(*files), read_export(tmp_path / "export", training=True)
    assert found.model.to_dict() == expected.model.to_dict()
    assert_same(found.params, expected.params)
    assert_same(dict(found.statistics), dict(expected.statistics))
    for one, other in ((found.generator, expected.generator), (found.discriminator, expected.discriminator)):
        assert (one is None) == (other is None)
        if one:
            assert_same((one.params, one.u), (other.params, other.u))
    z, labels = inputs(expected)
    generator = biggan_jax.load(tmp_path / "export")
    np.testing.assert_allclose(
        generator.images(z, labels, truncation, dtype="float32"),
        images_of(expected, z, labels, truncation),
        atol=1e-5,
    )
    for path in (path for file in files for path in (file.rglob("*") if file.is_dir() else [file])):
        if path.is_file():
            assert f"read {path.name}: SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in said
    assert f"{expected.model.resolution} px: ch {expected.model.channels}, " in said
    assert f"G {sum(x.size for x in jax.tree.leaves(expected.params)):,}" in said
    stored, kind = len(expected.statistics), expected.truncation_kind
    assert re.search(rf"\nstatistics at {stored} truncations? \({kind}\): 0", said)
    assert ("no discriminator" in said) == (format != "biggan-pytorch")
    card = (tmp_path / "export" / "README.md").read_text()
    assert format in card and all(digest in card for digest in expected.provenance["files"].values())


def test_classes_get_the_names_that_are_in_the_file(tmp_path):
    files = write_biggan_pytorch(tmp_path / "files")
    names = tmp_path / "names.txt"
    names.write_text("tench, Tinca tinca\ncat \nDög\nbird\nx\n")
    run("biggan-pytorch", files, tmp_path / "export", class_names=names)
    generator = biggan_jax.load(tmp_path / "export")
    assert generator.class_names == ("tench, Tinca tinca", "cat", "Dög", "bird", "x")
    for content, words in (
        ("a\nb\n", "has 2 lines, 0 of them empty; give the names of the 5 classes"),
        ("a\nb\n\nc\nd\n", "has 5 lines, 1 of them empty"),
        (b"\xff\n" * 5, "not text in UTF-8"),
    ):
        names.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match=f"names.txt .*{words}"):
            run("biggan-pytorch", files, tmp_path / "other", class_names=names)
    with pytest.raises(UserError, match="cannot read .*none.txt"):
        run("biggan-pytorch", files, tmp_path / "other", class_names=tmp_path / "none.txt")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("format", ["biggan-pytorch", "huggingface"])
def test_further_statistics_are_gathered_in_the_formats_own_sense_of_truncation(tmp_path, format):
    write, read, stored = FORMATS[format]
    files = write(tmp_path / "files")
    gathering = Gathering((0.5, stored), passes=2, batch_size=3, seed=7)
    said = run(format, files, tmp_path / "export", gathering=gathering)
    assert "gathering statistics at truncation 0.5" in said
    expected, found = read(*files), read_export(tmp_path / "export")
    assert set(found.statistics) == {0.5, *expected.statistics}
    for truncation in gathering.truncations:
        again = standing_statistics(
            expected.model,
            expected.params,
            truncation,
            passes=2,
            batch_size=3,
            seed=7,
            kind=expected.truncation_kind,
        )
        assert_same(found.statistics[truncation], jax.tree.map(np.asarray, again))
    assert found.provenance["standing_statistics"] == {
        "truncations": [0.5, stored],
        "passes": 2,
        "batch_size": 3,
        "seed": 7,
    }
    with pytest.raises(UserError, match="truncation = -1"):
        run(format, files, tmp_path / "other", gathering=Gathering((-1.0,)))


def test_a_checkpoint_without_statistics_is_imported_and_it_is_said_what_that_is_good_for(tmp_path):
    variables = random_variables(**MODULE)
    variables = {name: array for name, array in variables.items() if "/accumulat" not in name}
    write_checkpoint(tmp_path / "model", variables)
    assert "no statistics: sampling needs them, so import again" in run(
        "tfhub", [tmp_path / "model"], tmp_path / "export"
    )
    assert not read_export(tmp_path / "export").statistics
    run("tfhub", [tmp_path / "model"], tmp_path / "drawn", gathering=Gathering((1.0,), 2, 4))
    assert biggan_jax.load(tmp_path / "drawn").sample([0]).shape == (1, 8, 8, 3)


def test_what_the_biggan_pytorch_file_does_not_tell_can_be_told(tmp_path):
    files = write_biggan_pytorch(tmp_path / "files")
    run("biggan-pytorch", files[:1], tmp_path / "export", truncation=0.5, epsilon=1e-3)
    found = read_export(tmp_path / "export")
    assert (list(found.statistics), found.model.epsilon) == ([0.5], 1e-3)


@pytest.mark.parametrize(
    ("format", "count", "options", "words"),
    [
        ("huggingface", 1, {"epsilon": 1e-4}, "--epsilon=0.0001: files of huggingface contain it"),
        ("tfhub", 1, {"truncation": 0.0}, "--truncation=0: files of tfhub contain it"),
        ("biggan-pytorch", 1, {"truncation": -1.0}, "truncation = -1"),
        ("biggan-pytorch", 1, {"epsilon": 0.0}, "--epsilon=0: give a small number above 0"),
        ("biggan-pytorch", 3, {}, "3 files: give the file of G, and the file of D after it"),
        ("huggingface", 0, {}, "0 files: give one folder for huggingface"),
    ],
)
def test_what_a_format_does_not_take_is_refused(tmp_path, format, count, options, words):
    with pytest.raises(UserError, match=words):
        run(format, [tmp_path / "file"] * count, tmp_path / "export", **options)


def test_an_output_in_use_is_left_as_it_is(tmp_path):
    files = write_biggan_pytorch(tmp_path / "files")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine").write_text("")
    with pytest.raises(UserError, match="exists already"):
        run("biggan-pytorch", files, tmp_path / "export")
    assert os.listdir(tmp_path / "export") == ["mine"]


@pytest.mark.parametrize("fault", ["another number", "cannot be read"])
def test_an_export_that_does_not_come_back_as_it_was_is_none(tmp_path, monkeypatch, fault):
    files = write_biggan_pytorch(tmp_path / "files")

    def read(folder, training):
        found = read_export(folder, training)
        if fault == "cannot be read":
            (folder / "training.safetensors").unlink()
            return read_export(folder, training)
        found.discriminator.u["linear/kernel"][0] += 1
        return found

    monkeypatch.setattr(importing, "read_export", read)
    with pytest.raises(UserError, match="does not hold what was written|cannot read .*training.safetensors"):
        run("biggan-pytorch", files, tmp_path / "export")
    assert os.listdir(tmp_path) == ["files"]


def test_weights_that_are_finite_but_draw_nothing_are_refused(tmp_path):
    files = write_biggan_pytorch(tmp_path / "files")
    state = dict(G_STATE)
    state["blocks.0.0.bn1.bias.weight"] = np.full_like(state["blocks.0.0.bn1.bias.weight"], 3e38)
    files[0].write_bytes(torch_writer.save(state, legacy=True))
    with pytest.raises(UserError, match="G.pth: images of this generator are not finite"):
        run("biggan-pytorch", files, tmp_path / "export")
    assert os.listdir(tmp_path) == ["files"]


def test_training_begins_with_the_images_and_logits_of_the_files_own_networks(tmp_path):
    run("biggan-pytorch", write_biggan_pytorch(tmp_path / "files"), tmp_path / "export")
    exported = read_export(tmp_path / "export")
    config = default_config()
    config.model.update(exported.model)
    config.init_from = str(tmp_path / "export")
    state = first_state(config, epath.Path(tmp_path / "run"), (), lambda line: None)

    def weights(network):  # as the step does
        vectors = power_iteration(network.params, network.u, config.model.epsilon)
        return jax.device_get(normalize(network.params, vectors, config.model.epsilon))

    z, labels = inputs(exported)
    again = dataclasses.replace(exported, params=weights(state.generator))
    wanted = generate(G_STATE, z, labels)
    np.testing.assert_allclose(images_of(again, z, labels), wanted, atol=1e-4)
    logits = make_discriminator(config.model).apply({"params": weights(state.discriminator)}, wanted, labels)
    np.testing.assert_allclose(logits, judge(D_STATE, wanted, labels, DOWNSAMPLE), rtol=1e-4, atol=1e-4)


# Hostile and broken files ---------------------------------------------------------------------------------


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def pickle_that_calls(mark: Path) -> bytes:
    return torch_writer.zip_file(pickle.dumps({"linear.weight": Hostile(mark)}, 2), {})


def old_pickle_that_calls(mark: Path) -> bytes:
    return pickle.dumps({"linear.weight": Hostile(mark)}, 2)


def zip_of_one_part_many_times(mark: Path) -> bytes:
    """The directory lists one member under many names: a small file, many times as large when read."""
    content = torch_writer.save({"x": np.zeros(50_000, np.float32)}, legacy=False)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = archive.getinfo("archive/data/0")
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    listing, place = content[start:end], content[start:end].index(b"archive/data/0") - 46
    one = listing[place : place + 46 + len(b"archive/data/0")]
    assert struct.unpack("<L", one[24:28])[0] == entry.file_size
    more = b"".join(one[:-1] + b"%c" % digit for digit in b"123456789")
    count = struct.unpack("<H", content[end + 10 : end + 12])[0] + 9
    tail = bytearray(content[end:])
    tail[8:16] = struct.pack("<HHL", count, count, len(listing) + len(more))
    return content[:start] + listing + more + bytes(tail)


def compressed_zip(mark: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    return content.getvalue()


def names_that_lead_elsewhere(mark: Path) -> bytes:
    return torch_writer.save({f"../../{mark.name}": np.zeros(3), f"{mark}": np.zeros(3)}, legacy=False)


def zip_members_that_lead_elsewhere(mark: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(str(mark), "x")
        archive.writestr(f"../{mark.name}", "x")
    return content.getvalue()


def half(mark: Path) -> bytes:
    content = torch_writer.save(G_STATE, legacy=False)
    return content[: len(content) // 2]


def web_page(mark: Path) -> bytes:
    return b"<!DOCTYPE html><title>404</title>"


TORCH = [
    pickle_that_calls,
    old_pickle_that_calls,
    zip_of_one_part_many_times,
    compressed_zip,
    names_that_lead_elsewhere,
    zip_members_that_lead_elsewhere,
    half,
    web_page,
]


def huge_header(mark: Path) -> bytes:
    return struct.pack("<Q", 2**60) + b"{}"


def huge_shape(mark: Path) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return struct.pack("<Q", len(header)) + header


def overlapping(mark: Path) -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 8


def path_as_name(mark: Path) -> bytes:
    return safetensors.numpy.save({f"../{mark.name}": np.zeros(3, np.float32)})


def pickle_under_another_name(mark: Path) -> bytes:
    return pickle_that_calls(mark)


SAFETENSORS = [huge_header, huge_shape, overlapping, path_as_name, pickle_under_another_name, web_page]


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("name", "make"),
    [("pytorch_model.bin", make) for make in TORCH] + [("model.safetensors", make) for make in SAFETENSORS],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.parametrize("format", ["huggingface", "biggan-pytorch"])
def test_bad_files_of_weights_are_refused_by_name_and_leave_no_trace(tmp_path, format, name, make):
    files, mark = tmp_path / "files", tmp_path / "mark"
    files.mkdir()
    (files / "config.json").write_text(json.dumps(CONFIG))
    (files / name).write_bytes(make(mark))
    before = everything(tmp_path)
    given = [files] if format == "huggingface" else [files / name]
    with pytest.raises(UserError, match=name):
        run(format, given, tmp_path / "export")
    assert everything(tmp_path) == before


def test_a_zip_that_lists_one_part_many_times_is_known_for_what_it_is(tmp_path):
    (tmp_path / "G.pth").write_bytes(zip_of_one_part_many_times(tmp_path / "mark"))
    with pytest.raises(UserError, match="G.pth: its parts overlap"):
        run("biggan-pytorch", [tmp_path / "G.pth"], tmp_path / "export")


@pytest.mark.parametrize("make", [pickle_that_calls, half, names_that_lead_elsewhere, web_page])
def test_a_bad_discriminator_spoils_the_whole(tmp_path, make):
    files = write_biggan_pytorch(tmp_path / "files")
    files[1].write_bytes(make(tmp_path / "mark"))
    before = everything(tmp_path)
    with pytest.raises(UserError, match="D.pth"):
        run("biggan-pytorch", files, tmp_path / "export")
    assert everything(tmp_path) == before


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["cut", "random", "web page", "pickle", "device", "folder", "loop"])
def test_bad_modules_are_refused_by_name_and_leave_no_trace(tmp_path, part, damage):
    write_tfhub(tmp_path / "module")
    path = tmp_path / "module" / "variables" / f"variables.{part}"
    content = path.read_bytes()
    path.unlink()
    if damage == "device":
        os.mkfifo(tmp_path / "pipe")  # whoever reads it waits for a writer
        path.symlink_to(tmp_path / "pipe")
    elif damage == "loop":
        path.symlink_to(path)
    elif damage == "folder":
        path.mkdir()
    else:
        random = np.random.default_rng(0).bytes(len(content))
        made = {"cut": content[: len(content) // 2], "random": random, "web page": web_page(path)}
        path.write_bytes(made.get(damage) or old_pickle_that_calls(tmp_path / "mark"))
    before = everything(tmp_path)
    with pytest.raises(UserError, match="variables"):
        run("tfhub", [tmp_path / "module"], tmp_path / "export")
    assert everything(tmp_path) == before


def test_a_module_whose_files_are_links_is_read(tmp_path):
    """Caches keep the content elsewhere, under its hash."""
    write_tfhub(tmp_path / "blobs")
    (tmp_path / "module" / "variables").mkdir(parents=True)
    for path in (tmp_path / "blobs").rglob("*"):
        if path.is_file():
            (tmp_path / "module" / path.relative_to(tmp_path / "blobs")).symlink_to(path)
    run("tfhub", [tmp_path / "module"], tmp_path / "export")
    assert len(read_export(tmp_path / "export").statistics) == 50


def test_links_to_what_is_no_checkpoint_give_nothing_of_it_away(tmp_path):
    write_tfhub(tmp_path / "module")
    secret = tmp_path / "secret"
    secret.write_text("the password is swordfish")
    path = tmp_path / "module" / "variables" / "variables.index"
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(UserError, match="variables is damaged") as error:
        run("tfhub", [tmp_path / "module"], tmp_path / "export")
    assert "swordfish" not in str(error.value)
    assert not (tmp_path / "export").exists()


def test_a_checkpoint_that_declares_more_than_it_holds_takes_no_memory(tmp_path):
    write_checkpoint(tmp_path / "model", random_variables(**MODULE))
    data = next(tmp_path.glob("model.data*"))
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UserError, match="model is damaged: its variables need more bytes than the file has"):
        run("tfhub", [tmp_path / "model"], tmp_path / "export")
