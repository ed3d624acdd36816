"""Sets of TensorFlow Datasets, on tiny ones made here: in memory, by random access, and refused."""

import concurrent.futures
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biggan_jax.data import ArraySource, DataError, batches, open_source, tfds_images
from biggan_jax.data.decode import decode_square
from biggan_jax.data.records import RecordSource

EXAMPLES = 30
BATCH = {"batch_size": 6, "d_steps": 2, "seed": 0, "random_flip": True}


def pictures() -> list[bytes]:
    """PNG and JPEG files of odd sizes, landscape and portrait."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(EXAMPLES):
        height, width = rng.integers(20, 70, 2)
        buffer = io.BytesIO()
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image.save(buffer, format="JPEG" if number % 3 == 0 else "PNG")
        files.append(buffer.getvalue())
    return files


@pytest.fixture(scope="module")
def builders():
    """Builder classes by the name that TFDS gives their sets."""
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        label = tfds.features.ClassLabel(names=["ape", "bee", "cat"])

        def _info(self):
            features = {"number": np.int64, "image": tfds.features.Image(), "label": self.label}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, content in enumerate(pictures()):
                yield number, self.example(number, content)

        def example(self, number, content):
            return {"number": number, "image": io.BytesIO(content), "label": number % 3}

    class UnlabelledPictures(TinyPictures):
        def example(self, number, content):
            return super().example(number, content) | {"label": -1}

    class BrokenPictures(TinyPictures):
        def example(self, number, content):
            return super().example(number, b"no picture")

    class ClasslessPictures(TinyPictures):
        label = np.int64

    class UnreachablePictures(TinyPictures):
        def _split_generators(self, dl_manager):
            raise ConnectionError("the server is on fire\nand more lines")

    classes = (TinyPictures, UnlabelledPictures, BrokenPictures, ClasslessPictures, UnreachablePictures)
    return {builder.name: builder for builder in classes}


@pytest.fixture
def prepare(builders, monkeypatch, tmp_path):
    """Prepares a set in a fresh data directory, the one that `open_source` then looks into."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

    def prepare(name: str, file_format: str = "array_record"):
        builder = builders[name](data_dir=tmp_path, file_format=file_format)
        builder.download_and_prepare()
        return builder

    return prepare


@pytest.fixture
def no_memory(monkeypatch):
    """Makes every set one that is too large for memory."""
    monkeypatch.setattr(tfds_images, "IN_MEMORY_BYTES", 0)


def take(count: int, *args, **kwargs) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches(*args, **kwargs), count))


def assert_equal(actual: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> None:
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a["images"], b["images"])
        np.testing.assert_array_equal(a["labels"], b["labels"])


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_small_set_is_in_memory_cropped_and_resized_with_its_labels(prepare, file_format):
    prepare("tiny_pictures", file_format)
    source = open_source("tfds:tiny_pictures", resolution=16, num_classes=3)
    assert isinstance(source, ArraySource)
    assert source.class_names == ("ape", "bee", "cat")
    expected = {bytes(decode_square(file, 16)): number % 3 for number, file in enumerate(pictures())}
    actual = {bytes(image): label for image, label in zip(source.images, source.labels, strict=True)}
    assert len(expected) == EXAMPLES and actual == expected


def test_a_damaged_record_of_a_tfrecord_file_is_replaced_and_those_before_it_are_read(prepare, caplog):
    prepare("tiny_pictures", "tfrecord")
    records = tfds_images.open_records("tiny_pictures", "train", 16, max_refused=0.9)
    last = records.records[EXAMPLES - 1]
    (file,) = Path(records.records._parts[0].filename).parent.glob("*tfrecord*")
    file.write_bytes(file.read_bytes().replace(last, bytes([last[0] ^ 1]) + last[1:]))
    records = tfds_images.open_records("tiny_pictures", "train", 16, max_refused=0.9)
    images, _ = records.examples(np.arange(EXAMPLES))
    np.testing.assert_array_equal(images[-1], images[0])
    assert len({bytes(image) for image in images}) == EXAMPLES - 1
    assert f"example {EXAMPLES - 1}: its record is damaged" in caplog.text


def test_random_access_gives_the_batches_that_memory_gives(prepare, monkeypatch):
    """In memory the order of the files is kept, so both paths must agree example by example."""
    prepare("tiny_pictures")
    in_memory = open_source("tfds:tiny_pictures", resolution=16)
    monkeypatch.setattr(tfds_images, "IN_MEMORY_BYTES", 0)
    from_files = open_source("tfds:tiny_pictures", resolution=16)
    assert isinstance(from_files, RecordSource) and from_files.num_examples == EXAMPLES
    expected = take(6, in_memory, **BATCH)
    assert_equal(take(6, from_files, **BATCH), expected)
    assert_equal(take(2, from_files, **BATCH, start_step=4), expected[4:])
    halves = [take(6, from_files, **BATCH, process_index=index, process_count=2) for index in range(2)]
    for step in range(6):
        together = {
            key: np.concatenate([half[step][key] for half in halves], axis=1) for key in expected[step]
        }
        assert_equal([together], [expected[step]])


def test_a_large_set_without_random_access_is_refused_with_the_remedy(prepare, no_memory):
    prepare("tiny_pictures", "tfrecord")
    with pytest.raises(DataError, match="biggan_jax.prepare --source=tfds:tiny_pictures --resolution=16"):
        open_source("tfds:tiny_pictures", resolution=16)


def test_a_set_that_is_not_there_is_prepared_for_random_access(prepare, no_memory):
    """`prepare` is here for its directory and for TFDS to know the builder."""
    assert not tfds_images.is_prepared("tiny_pictures")
    assert isinstance(open_source("tfds:tiny_pictures", resolution=16), RecordSource)
    assert tfds_images.is_prepared("tiny_pictures")


def test_a_part_of_a_split_can_be_named(prepare):
    prepare("tiny_pictures")
    assert open_source("tfds:tiny_pictures", "train[:10]", resolution=16).num_examples == 10


def test_an_unknown_split_is_refused_with_the_known_ones(prepare):
    prepare("tiny_pictures")
    for split in ("validation", "train[", "train[:10]+dev"):
        with pytest.raises(DataError, match="no split .*: set data.split to one of train, or a part"):
            open_source("tfds:tiny_pictures", split, resolution=16)


def test_an_empty_split_is_refused(prepare):
    prepare("tiny_pictures")
    with pytest.raises(DataError, match=r"no images in 'train\[:0\]': choose another"):
        open_source("tfds:tiny_pictures", "train[:0]", resolution=16)


USELESS = {
    "unlabelled_pictures": "has an example of label -1, but its classes are numbered 0 to 2",
    "broken_pictures": "of 30 pictures are unusable, which is more than 1.00%",
}


@pytest.mark.parametrize("name", USELESS)
def test_pictures_that_cannot_be_used_are_refused_in_memory(prepare, name):
    prepare(name)
    with pytest.raises(DataError, match=f"tfds:{name}.*{USELESS[name]}"):
        open_source(f"tfds:{name}", resolution=16)


@pytest.mark.parametrize("name", USELESS)
def test_pictures_that_cannot_be_used_are_refused_when_they_are_read(prepare, no_memory, name):
    prepare(name)
    source = open_source(f"tfds:{name}", resolution=16)
    with pytest.raises(DataError, match=f"tfds:{name}.*{USELESS[name]}"):
        take(1, source, **BATCH)


def test_a_set_without_class_labels_is_refused_with_its_features(prepare):
    prepare("classless_pictures")
    with pytest.raises(DataError, match="has the features image, label, number, but"):
        open_source("tfds:classless_pictures", resolution=16)


def test_an_unknown_set_is_refused(prepare):
    with pytest.raises(DataError, match="TensorFlow Datasets has no 'no_such_set'"):
        open_source("tfds:no_such_set", resolution=16)


def test_a_set_that_cannot_be_prepared_says_why_and_what_to_do(prepare):
    with pytest.raises(DataError, match=r"\(the server is on fire\): start again once 'tfds build"):
        open_source("tfds:unreachable_pictures", resolution=16)


def test_without_network_an_unprepared_set_fails_at_once(prepare, monkeypatch):
    """TFDS would try for minutes."""
    import tensorflow_datasets as tfds

    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)

    def unknown(host, port):
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(tfds_images.socket, "getaddrinfo", unknown)
    monkeypatch.setattr(
        tfds.core.DatasetBuilder, "download_and_prepare", lambda self: pytest.fail("too late")
    )
    with pytest.raises(DataError, match=r"cifar10 .*www.cs.toronto.edu cannot be found: Name or"):
        open_source("tfds:cifar10", resolution=32)


def test_of_several_processes_one_prepares_and_the_others_wait(builders, prepare, monkeypatch):
    """`prepare` is here for its directory and for TFDS to know the builder."""
    prepared = []
    builder = builders["tiny_pictures"]
    original = builder.download_and_prepare
    monkeypatch.setattr(builder, "download_and_prepare", lambda self: prepared.append(1) or original(self))
    with concurrent.futures.ThreadPoolExecutor(
        4
    ) as pool:  # a lock of a file is held by its opening, not process
        sources = list(pool.map(lambda _: open_source("tfds:tiny_pictures", resolution=16), range(4)))
    assert len(prepared) == 1 and {source.num_examples for source in sources} == {EXAMPLES}
