"""TFDS's own imagenet2012, from archives of the true format to a training step; only the pictures are few."""

import io
import tarfile

import pytest
from photographs import photograph
from PIL import Image

from biggan_jax.data import DataError, arrays, batches, open_source, prepared, tfds_images
from biggan_jax.data.catalogue import open_splits
from biggan_jax.data.decode import decode_square
from biggan_jax.data.records import RecordSource
from biggan_jax.data.writing import write_prepared

SYNSETS = {"n01440764": 0, "n01443537": 1, "n02123045": 281, "n15075141": 999}
PER_CLASS = 5
VALIDATION = 6
RESOLUTION = 8


def jpeg(seed: int, **options) -> bytes:
    size = [(50, 70), (64, 41), (90, 90)][seed % 3]
    buffer = io.BytesIO()
    Image.fromarray(photograph(*size, seed=seed)).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Writes the two archives where TFDS looks for them; gives their pictures by split and name."""
    data_dir = tmp_path_factory.mktemp("tfds")
    manual = data_dir / "downloads" / "manual"
    manual.mkdir(parents=True)
    pictures: dict[str, dict[str, bytes]] = {"train": {}, "validation": {}}
    with tarfile.open(manual / "ILSVRC2012_img_train.tar", "w") as train:
        for synset, label in SYNSETS.items():
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as of_class:
                for number in range(PER_CLASS):
                    content = jpeg(label * PER_CLASS + number)
                    pictures["train"][f"{synset}_{number}.JPEG"] = content
                    add(of_class, f"{synset}_{number}.JPEG", content)
            add(train, f"{synset}.tar", inner.getvalue())
    with tarfile.open(manual / "ILSVRC2012_img_val.tar", "w") as validation:
        for number in reversed(range(1, VALIDATION + 1)):  # the real one is in no order either
            name = f"ILSVRC2012_val_{number:08}.JPEG"
            pictures["validation"][name] = jpeg(7000 + number)
            add(validation, name, pictures["validation"][name])
    patch = pytest.MonkeyPatch()
    patch.setenv("TFDS_DATA_DIR", str(data_dir))
    patch.setenv("BIGGAN_CACHE", str(data_dir / "cache"))
    yield pictures
    patch.undo()


def content_of(source) -> dict[bytes, int]:
    images, labels = arrays(source)
    return {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}


def test_the_archives_become_tfdss_splits_with_its_labels(imagenet):
    source = open_source("tfds:imagenet2012", "train", resolution=RESOLUTION, num_classes=1000)
    assert source.num_examples == len(SYNSETS) * PER_CLASS and source.num_classes == 1000
    assert [source.class_names[label] for label in SYNSETS.values()] == list(SYNSETS)
    expected = {
        decode_square(content, RESOLUTION).tobytes(): SYNSETS[name.partition("_")[0]]
        for name, content in imagenet["train"].items()
    }
    assert content_of(source) == expected

    validation = open_source("tfds:imagenet2012", "validation", resolution=RESOLUTION)
    official = (65, 970, 230, 809, 516, 57)  # of the challenge's first pictures: sea snake, alp, …
    expected = {
        decode_square(imagenet["validation"][f"ILSVRC2012_val_{number:08}.JPEG"], RESOLUTION).tobytes(): label
        for number, label in enumerate(official, start=1)
    }
    assert content_of(validation) == expected


def test_imagenet_by_random_access_gives_each_picture_once_an_epoch(imagenet, monkeypatch):
    expected = content_of(open_source("tfds:imagenet2012", resolution=RESOLUTION))
    monkeypatch.setattr(tfds_images, "IN_MEMORY_BYTES", 0)
    source = open_source("tfds:imagenet2012", resolution=RESOLUTION)
    assert isinstance(source, RecordSource)
    step = next(batches(source, batch_size=10, d_steps=2, seed=0, random_flip=False))
    images, labels = step["images"].reshape(20, -1), step["labels"].reshape(-1).tolist()
    assert {image.tobytes(): label for image, label in zip(images, labels, strict=True)} == expected


@pytest.mark.slow
def test_imagenet_is_prepared_and_trained_on(imagenet, tmp_path, monkeypatch):
    """From the archives through preparation and random access to one step of a tiny network."""
    from biggan_jax.config import default_config
    from biggan_jax.training.run.loop import train

    output = tmp_path / "prepared"
    summary = write_prepared(open_splits("tfds:imagenet2012", RESOLUTION, 0.01), str(output), 0.01)
    assert summary.images == {"train": len(SYNSETS) * PER_CLASS, "validation": VALIDATION}
    assert summary.classes == 1000 and not summary.refused
    for split in ("train", "validation"):
        from_archives = open_source("tfds:imagenet2012", split, resolution=RESOLUTION)
        assert content_of(open_source(f"prepared:{output}", split, resolution=RESOLUTION)) == content_of(
            from_archives
        )

    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    config = default_config()
    config.update(batch_size=4, d_steps=1, total_steps=1, sample_every=0)
    config.sampling.max_classes = 1
    config.model.update(
        resolution=RESOLUTION,
        channels=2,
        latent_dim=8,
        class_embedding_dim=4,
        attention_resolution=0,
        generator_channels=(2, 1),
        discriminator_channels=(1, 2),
        hierarchical_latents=False,
    )
    config.data.source = f"prepared:{output}"
    assert train(config, tmp_path / "run") == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("d_loss") == 1


def test_without_the_archives_the_person_is_told_which_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="(?s)could not prepare imagenet2012.*ILSVRC2012_img_train.tar"):
        open_source("tfds:imagenet2012", resolution=RESOLUTION)
