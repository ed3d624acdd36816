"""The sampling benchmark on narrow networks: the same images by both, and no time of different ones."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("pytorch_pretrained_biggan")

from benchmarks import sampling  # noqa: E402

pytestmark = pytest.mark.peers


def test_both_draw_the_same_images_and_are_timed_by_turns():
    told = []
    rows = sampling.measure(128, channels=8, batch_sizes=[1, 3], rounds=2, report=told.append)
    assert [(row.batch_size, row.way) for row in rows] == [
        (size, way) for size in (1, 3) for way in (sampling.PEER, sampling.HERE)
    ]
    for peer, here in zip(rows[::2], rows[1::2], strict=True):
        assert 0 < here.difference < 1e-5 and peer.ratio == peer.fastest_ratio == 1
        assert here.ratio == pytest.approx(here.images_per_second / peer.images_per_second)
        assert here.fastest_ratio == pytest.approx(peer.fastest_seconds / here.fastest_seconds)
        for row in (peer, here):
            assert row.images_per_second == pytest.approx(row.batch_size / row.seconds)
            assert 0 < row.fastest_seconds <= row.seconds
    assert told[-1] == "batch size 3: round 2 of 2"


def test_different_images_are_not_timed(monkeypatch):
    package_generator = sampling.package_generator

    def off(folder):
        draw = package_generator(folder)
        return lambda z, labels: draw(z, labels) + 1e-3

    monkeypatch.setattr(sampling, "package_generator", off)
    with pytest.raises(ValueError, match="the packages generate different images: .* differ by 0.001"):
        sampling.measure(128, channels=8, batch_sizes=[1], rounds=1, report=lambda line: None)
