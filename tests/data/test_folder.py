"""A person's own folder of pictures: classes, order, every kind of bad file, and files that go bad later."""

import dataclasses
import itertools
import logging
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from photographs import photograph
from PIL import Image

from biggan_jax.data import DataError, batches, open_source, scan
from biggan_jax.data.decode import decode_square
from biggan_jax.data.records import Refusals

RESOLUTION = 16
BATCH = {"batch_size": 6, "d_steps": 2, "seed": 0, "random_flip": False}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BIGGAN_CACHE", str(folder))
    return folder


def write(path: Path, seed: int = 0, size: tuple[int, int] = (24, 30), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(*size, seed=seed)).save(path, **options)
    return path


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Three classes of four pictures."""
    for number, (name, kind) in enumerate(
        itertools.product(("cat", "ape", "bee"), ("jpg", "png", "webp", "bmp"))
    ):
        write(tmp_path / "pictures" / name / f"{kind}.{kind}", seed=number)
    return tmp_path / "pictures"


def open_folder(folder: Path, split: str = "train", **options):
    return open_source(f"folder:{folder}", split, resolution=RESOLUTION, **options)


def paths(source) -> list[str]:
    return [path for path, _ in source.records]


def take(count: int, source, **options) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches(source, **BATCH | options), count))


def test_sub_folders_are_classes_in_the_order_of_their_names(pictures):
    source = open_folder(pictures, num_classes=3)
    assert source.class_names == ("ape", "bee", "cat") and source.num_examples == 12
    for path, label in source.records:
        assert path.startswith(source.class_names[label] + "/")


def test_a_flat_folder_is_one_class_named_after_it(pictures):
    source = open_folder(pictures / "bee")
    assert source.class_names == ("bee",) and source.num_examples == 4
    assert {label for _, label in source.records} == {0}


def test_batches_hold_the_decoded_files_with_their_classes(pictures):
    source = open_folder(pictures)
    expected = {
        decode_square((pictures / path).read_bytes(), RESOLUTION).tobytes(): label
        for path, label in source.records
    }
    epoch = take(1, source)[0]
    images = epoch["images"].reshape(12, -1)
    assert {image.tobytes() for image in images} == set(expected)
    assert [expected[image.tobytes()] for image in images] == epoch["labels"].reshape(-1).tolist()


def test_the_order_is_a_fixed_mixture_wherever_the_folder_lies(pictures, tmp_path):
    """Else a copied folder would go on from a checkpoint with other pictures."""
    first = open_folder(pictures)
    pictures.rename(tmp_path / "elsewhere")
    assert paths(open_folder(tmp_path / "elsewhere")) == paths(first) != sorted(paths(first))


def test_parts_of_the_folder_make_up_the_whole_and_keep_all_classes(pictures):
    whole = open_folder(pictures)
    parts = [open_folder(pictures, split) for split in ("train[:75%]", "train[75%:]")]
    assert [part.num_examples for part in parts] == [9, 3]
    assert paths(parts[0]) + paths(parts[1]) == paths(whole)
    assert parts[1].class_names == whole.class_names
    assert paths(open_folder(pictures, "train[10:]+train[:2]")) == paths(whole)[10:] + paths(whole)[:2]


@pytest.mark.parametrize("split", ["test", "train["])
def test_other_splits_are_refused(pictures, split):
    with pytest.raises(DataError, match=r"no split .*: set data.split to one of train, or a part"):
        open_folder(pictures, split)


def test_an_empty_part_is_refused(pictures):
    with pytest.raises(DataError, match=r"no pictures in 'train\[:0\]'"):
        open_folder(pictures, "train[:0]")


def test_names_in_any_script_and_form_are_classes(tmp_path):
    composed, decomposed = "\u00e9t\u00e9", unicodedata.normalize("NFD", "\u00e9clair")
    for name in (composed, decomposed, "猫", "with space", "ünï % {x}"):
        write(tmp_path / "set" / name / "ä b.jpg", seed=len(name))
    os.makedirs(os.path.join(os.fsencode(tmp_path / "set"), b"not-utf8-\xff"))
    write(tmp_path / "set" / os.fsdecode(b"not-utf8-\xff") / os.fsdecode(b"\xfe.png"))
    source = open_folder(tmp_path / "set")
    expected = {composed, "\u00e9clair", "猫", "with space", "ünï % {x}", "not-utf8-\ufffd"}
    assert source.class_names == tuple(sorted(expected))
    assert len(take(1, source)) == 1
    print(source.description, source.class_names)


def test_a_class_folder_with_a_line_break_is_a_class_on_one_line(tmp_path):
    for name in ("a\nb", "n" * 255):
        write(tmp_path / "set" / name / "1.jpg")
    assert open_folder(tmp_path / "set").class_names == ("a\ufffdb", "n" * 255)


@pytest.mark.parametrize("names", [(b"\xff", b"\xfe"), ("é".encode(), "e\u0301".encode())])
def test_two_folders_that_would_silently_be_one_class_are_refused(tmp_path, names):
    for name in names:
        write(tmp_path / "set" / os.fsdecode(name) / "1.jpg")
    with pytest.raises(DataError, match="are both the class .*: rename one"):
        open_folder(tmp_path / "set")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_unreadable(path: Path) -> None:
    path.symlink_to("/proc/self/mem")  # even the superuser can't read its first byte


BAD = {
    "empty.jpg": (lambda path: path.touch(), "empty"),
    "text.jpg": (lambda path: path.write_text("<html>404</html>"), "neither JPEG, PNG"),
    "dot.png": (lambda path: write(path, size=(1, 1)), "its shorter side has 1 pixels"),
    "line.png": (lambda path: write(path, size=(7, 2000)), "its shorter side has 7 pixels"),
    "nowhere.jpg": (lambda path: path.symlink_to("/nowhere"), "cannot be read: No such file"),
    "loop.jpg": (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    "pipe.jpg": (make_pipe, "not a regular file"),
    "unreadable.jpg": (make_unreadable, "cannot be read: Input/output error"),
    "float.tif": (lambda path: Image.new("F", (16, 16)).save(path), "floating-point numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_left_out_and_listed_with_the_reason(pictures, name, caplog):
    make, reason = BAD[name]
    before = paths(open_folder(pictures))
    make(pictures / "bee" / name)
    source = open_folder(pictures)
    assert paths(source) == before
    assert list(source.refused) == [f"bee/{name}"] and source.refused[f"bee/{name}"].startswith(reason)
    assert f"1 of 13 pictures are unusable and left out:\n  bee/{name}: {reason}" in caplog.text
    assert "1 unusable left out" in source.description


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp"])
def test_a_file_that_was_cut_off_is_left_out(pictures, kind):
    path = pictures / "cat" / f"{kind}.{kind}"
    path.write_bytes(path.read_bytes()[:-200])
    assert list(open_folder(pictures).refused) == [f"cat/{kind}.{kind}"]


def test_more_bad_files_than_allowed_stop_with_the_list(pictures):
    for number in range(12):
        (pictures / "ape" / f"{number:02}.png").write_text("no picture")
    with pytest.raises(DataError, match=r"12 of 24 pictures are unusable, which is more than 1.00%") as error:
        open_folder(pictures)
    assert "\n  ape/00.png: neither" in str(error.value) and str(error.value).endswith("\n  and 2 more")
    assert open_folder(pictures, max_refused=0.5).num_examples == 12
    with pytest.raises(DataError, match="12 of 24"):
        open_folder(pictures, max_refused=0.49)


def test_what_the_name_says_of_the_kind_does_not_matter(pictures):
    (pictures / "bee" / "jpg.jpg").rename(pictures / "bee" / "really_jpeg.png")
    (pictures / "bee" / "png.png").rename(pictures / "bee" / "really_png.JPG")
    source = open_folder(pictures)
    assert source.num_examples == 12 and not source.refused


def test_hidden_files_and_files_of_other_kinds_are_no_pictures(pictures):
    for name in ("notes.txt", ".hidden.jpg", "._bee.jpg", "Thumbs.db", ".DS_Store"):
        (pictures / "bee" / name).write_text("x")
    (pictures / ".cache").mkdir()
    (pictures / "labels.csv").write_text("x")
    source = open_folder(pictures)
    assert source.num_examples == 12 and not source.refused


def test_an_empty_sub_folder_is_no_class_and_said(pictures, caplog):
    (pictures / "dog").mkdir()
    assert open_folder(pictures).class_names == ("ape", "bee", "cat")
    assert "the sub-folders dog have no pictures: they are not classes" in caplog.text


def test_a_sub_folder_with_nothing_usable_is_no_class_and_said(pictures, caplog):
    (pictures / "dog").mkdir()
    (pictures / "dog" / "x.png").touch()
    assert open_folder(pictures).class_names == ("ape", "bee", "cat")
    assert "dog has no usable picture: it is not a class" in caplog.text


def test_links_to_files_and_folders_elsewhere_are_followed(pictures, tmp_path):
    (pictures / "bee" / "linked.jpg").symlink_to(write(tmp_path / "elsewhere" / "x.jpg"))
    (pictures / "dog").symlink_to(tmp_path / "elsewhere")
    source = open_folder(pictures)
    assert {"bee/linked.jpg", "dog/x.jpg"} <= set(paths(source))
    assert source.class_names == ("ape", "bee", "cat", "dog")


def test_pictures_two_folders_deep_are_refused_with_the_remedy(pictures):
    with pytest.raises(DataError, match=rf"two folders deep, in pictures/ape: give folder:{pictures} if"):
        open_folder(pictures.parent)


def test_pictures_beside_folders_of_pictures_are_refused(pictures):
    write(pictures / "stray.png")
    with pytest.raises(DataError, match=r"beside sub-folders with pictures \(stray.png beside ape/\)"):
        open_folder(pictures)


def test_folders_that_are_missing_or_have_no_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read .No such file or directory.: give a folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no pictures .files that end in .jpg"):
        open_folder(tmp_path)


def test_pictures_smaller_than_the_resolution_are_counted(pictures):
    write(pictures / "ape" / "small.png", size=(15, 40))
    assert open_folder(pictures).enlarged == 1


def test_files_are_looked_at_once_and_again_only_when_they_change(pictures, monkeypatch, cache):
    looked_at = []
    check = scan._check
    monkeypatch.setattr(scan, "_check", lambda path: looked_at.append(path.name) or check(path))
    open_folder(pictures)
    assert len(looked_at) == 12 and len(list(cache.rglob("*.json.gz"))) == 1
    looked_at.clear()
    open_folder(pictures)
    assert looked_at == []
    write(pictures / "ape" / "jpg.jpg", size=(40, 40))
    write(pictures / "ape" / "new.jpg")
    open_folder(pictures)
    assert sorted(looked_at) == ["jpg.jpg", "new.jpg"]


def test_nothing_is_written_beside_the_pictures(pictures):
    before = sorted(pictures.rglob("*"))
    take(1, open_folder(pictures))
    assert sorted(pictures.rglob("*")) == before


def test_an_interrupted_scan_keeps_what_it_has_done(pictures, monkeypatch):
    check, looked_at = scan._check, []
    monkeypatch.setattr(scan, "FILES_PER_TASK", 1)
    monkeypatch.setattr(scan.os, "cpu_count", lambda: 1)

    def interrupted(path: Path):
        looked_at.append(path)
        if len(looked_at) == 6:
            raise KeyboardInterrupt
        return check(path)

    monkeypatch.setattr(scan, "_check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_folder(pictures)
    monkeypatch.setattr(scan, "_check", lambda path: looked_at.append(path) or check(path))
    looked_at.clear()
    open_folder(pictures)
    assert 0 < len(looked_at) <= 7


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b\x08\x00"])
def test_a_broken_memory_of_scans_is_as_none(pictures, cache, content):
    expected = paths(open_folder(pictures))
    (memory,) = cache.rglob("*.json.gz")
    memory.write_bytes(content)
    assert paths(open_folder(pictures)) == expected


def test_a_memory_that_cannot_be_written_is_said_and_no_matter(pictures, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "file"))
    assert open_folder(pictures).num_examples == 12
    assert "choose another $BIGGAN_CACHE that you can write to" in caplog.text


def vanish(path: Path) -> None:
    path.unlink()


def shrink(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("accident", [vanish, shrink])
def test_for_a_file_that_goes_bad_later_its_successor_stands_in_and_all_else_stays(
    pictures, accident, caplog
):
    source = open_folder(pictures)
    before = take(4, source)
    accident(pictures / source.records[5][0])
    with caplog.at_level(logging.WARNING):
        after = take(4, source)
    assert caplog.text.count("the next picture replaces it") == 1
    assert caplog.text.count(source.records[5][0]) == 1
    successor, label = source.example(6)
    changed = 0
    for old, new in zip(before, after, strict=True):
        for i, j in np.ndindex(2, 6):
            if (old["images"][i, j] != new["images"][i, j]).any():
                np.testing.assert_array_equal(new["images"][i, j], successor)
                assert new["labels"][i, j] == label
                changed += 1
    assert changed == 4  # once an epoch
    unaware = dataclasses.replace(source, _refusals=Refusals())  # another process, which meets it only now
    np.testing.assert_array_equal(take(1, unaware, start_step=3)[0]["images"], after[3]["images"])


def test_a_folder_that_vanishes_ends_the_run_with_the_list(pictures):
    source = open_folder(pictures)
    stream = batches(source, **BATCH)
    next(stream)
    pictures.rename(pictures.parent / "gone")
    with pytest.raises(
        DataError, match=r"folder:.* of 12 pictures are unusable.*\n  (ape|bee|cat)/.*No such file"
    ):
        for _ in range(20):
            next(stream)
