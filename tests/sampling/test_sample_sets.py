"""Large sets: what is in the file, on any number of devices; killed and taken up, damaged, out of space."""

import dataclasses
import io
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console
from tiny_exports import SIZE, make_exported

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling import sample_sets
from biggan_jax.sampling.sample_file import read_samples
from biggan_jax.sampling.sample_sets import SampleSetRequest, weights_digest, write_sample_set
from biggan_jax.sampling.sampler import Sampler

REQUEST = SampleSetRequest(num_samples=23, classes=(2, 0), truncation=0.5, seed=3, batch_size=2, weights="w")


@pytest.fixture(scope="module")
def sampler():
    return Sampler(make_exported(), batch_size=2)


@pytest.fixture(autouse=True)
def parts_of_six(monkeypatch):
    monkeypatch.setattr(sample_sets, "PART_BYTES", 6 * 3 * SIZE**2)


def write(path, sampler, request=REQUEST):
    console = Console(file=io.StringIO(), width=200)
    write_sample_set(path, sampler, request, console)
    return console.file.getvalue()


class Killed(BaseException):
    """In place of a kill: what has begun is not cleaned up by any handler of exceptions."""


def kill_at_part(monkeypatch, number):
    write_part, written = sample_sets.Parts.write, []

    def write_or_die(self, index, images):
        if len(written) == number:
            raise Killed
        written.append(index)
        write_part(self, index, images)

    monkeypatch.setattr(sample_sets.Parts, "write", write_or_die)
    return written


def test_the_set_is_one_sequence_of_images_with_balanced_labels_as_adm_takes_it(sampler, tmp_path):
    write(tmp_path / "set.npz", sampler)
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"], "the parts are gone"
    images, labels = read_samples(tmp_path / "set.npz", resolution=SIZE, num_classes=3)
    assert labels.tolist() == [2, 0] * 11 + [2]
    np.testing.assert_array_equal(images, sampler.sample(labels, 0.5, seed=3))
    with np.load(tmp_path / "set.npz") as file:
        assert file.files == ["arr_0", "arr_1"]
        assert file["arr_0"].dtype == np.uint8 and file["arr_1"].dtype == np.int32


def test_the_number_of_devices_changes_no_byte(tmp_path):
    files = []
    for count in (1, 3):
        devices = jax.local_devices()[:count]
        write(tmp_path / f"{count}.npz", Sampler(make_exported(), batch_size=2, devices=devices))
        files.append(read_samples(tmp_path / f"{count}.npz")[0])
    np.testing.assert_array_equal(*files)


def test_a_set_that_was_killed_goes_on_where_it_was_and_is_the_same(sampler, tmp_path, monkeypatch):
    write(tmp_path / "whole.npz", sampler)
    with monkeypatch.context() as patch:
        kill_at_part(patch, 2)
        with pytest.raises(Killed):
            write(tmp_path / "set.npz", sampler)
    assert not (tmp_path / "set.npz").exists()
    with monkeypatch.context() as patch:
        written = kill_at_part(patch, 99)
        said = write(tmp_path / "set.npz", sampler)
    assert written == [2, 3] and "continuing after 12 images" in said and "23 of 23 images" in said
    np.testing.assert_array_equal(*(read_samples(tmp_path / name)[0] for name in ("set.npz", "whole.npz")))


def test_a_set_that_was_killed_while_it_was_joined_is_joined_again(sampler, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sample_sets, "read_samples", lambda path: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            write(tmp_path / "set.npz", sampler)
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz.parts"]
    write(tmp_path / "set.npz", sampler)
    assert len(read_samples(tmp_path / "set.npz")[0]) == 23


@pytest.mark.parametrize("damage", ["cut short", "a flipped bit", "another shape"])
def test_a_damaged_part_is_sampled_again(damage, sampler, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at_part(patch, 3)
        with pytest.raises(Killed):
            write(tmp_path / "set.npz", sampler)
    part = tmp_path / "set.npz.parts" / "00000006.npz"
    content = bytearray(part.read_bytes())
    if damage == "cut short":
        part.write_bytes(content[: len(content) // 2])
    elif damage == "a flipped bit":
        content[300] ^= 1
        part.write_bytes(content)
    else:
        np.savez(part, np.zeros((2, SIZE, SIZE, 3), np.uint8), np.zeros(2, np.int32))
    written = kill_at_part(monkeypatch, 99)
    assert "00000006.npz is damaged: sampling it again" in write(tmp_path / "set.npz", sampler)
    assert written == [1, 3]
    images, labels = read_samples(tmp_path / "set.npz")
    np.testing.assert_array_equal(images, sampler.sample(labels, 0.5, seed=3))


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"truncation": 1.0}, {"classes": (2, 1)}, {"weights": "v"}, {"num_samples": 29}],
)
def test_parts_of_another_set_are_refused_and_left_alone(change, sampler, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at_part(patch, 1)
        with pytest.raises(Killed):
            write(tmp_path / "set.npz", sampler)
    before = {path: path.read_bytes() for path in (tmp_path / "set.npz.parts").iterdir()}
    with pytest.raises(UserError, match=rf"holds parts of another set \(other {next(iter(change))}\)"):
        write(tmp_path / "set.npz", sampler, dataclasses.replace(REQUEST, **change))
    assert before == {path: path.read_bytes() for path in (tmp_path / "set.npz.parts").iterdir()}


def test_a_finished_set_is_not_overwritten(sampler, tmp_path):
    (tmp_path / "set.npz").write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already: remove it, or choose another --output"):
        write(tmp_path / "set.npz", sampler)
    assert (tmp_path / "set.npz").read_bytes() == b"precious"


def test_too_little_space_is_reported_before_anything_is_sampled(sampler, tmp_path, monkeypatch):
    size = 3 * SIZE**2
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=46 * size - 1))
    monkeypatch.setattr(sampler, "images", None)
    with pytest.raises(UserError, match=r"take 8\.83e-06 GB more, and .* has 8\.83e-06 GB: free some space"):
        write(tmp_path / "set.npz", sampler)


def test_a_digest_is_of_every_weight_and_statistic():
    exported = make_exported()
    same, other = make_exported(), make_exported()
    assert weights_digest(exported) == weights_digest(same)
    jax.tree.leaves(other.statistics[0.5])[0][0] += 1
    assert weights_digest(exported) != weights_digest(other)
    assert weights_digest(exported) != weights_digest(
        dataclasses.replace(exported, statistics={0.5: exported.statistics[0.5]})
    )
