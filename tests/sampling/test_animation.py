"""Animations read back: which frames, in which order, how fast, and the message without PyAV."""

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling import animation
from biggan_jax.sampling.animation import forwards_and_backwards, write_gif, write_mp4

GREYS = (0, 60, 120, 180, 240)


def grey_frames(height=32, width=64):
    return np.broadcast_to(np.uint8(GREYS)[:, None, None, None], (len(GREYS), height, width, 3))


def test_an_animation_goes_forwards_and_backwards_and_shows_neither_end_twice():
    assert list(forwards_and_backwards(np.arange(4))) == [0, 1, 2, 3, 2, 1]
    assert list(forwards_and_backwards(np.arange(2))) == [0, 1]


def test_a_gif_loops_for_ever_at_the_speed_asked_for():
    file = io.BytesIO()
    write_gif(file, grey_frames(), frames_per_second=20)
    with Image.open(file) as gif:
        assert gif.n_frames == 8 and gif.info["loop"] == 0
        found = []
        for number in range(gif.n_frames):
            gif.seek(number)
            assert gif.info["duration"] == 50 and gif.size == (64, 32)
            found.append(gif.convert("RGB").getpixel((5, 5))[0])
    np.testing.assert_allclose(found, [*GREYS, 180, 120, 60], atol=2)


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV reads what it wrote; extra `video`")
def test_an_mp4_holds_the_frames_in_order_at_the_speed_asked_for():
    import av

    file = io.BytesIO()
    write_mp4(file, grey_frames(), frames_per_second=10)
    with av.open(io.BytesIO(file.getvalue())) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264" and stream.average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert {frame.shape for frame in frames} == {(32, 64, 3)}
    np.testing.assert_allclose([frame.mean() for frame in frames], [*GREYS, 180, 120, 60], atol=5)


def test_without_pyav_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(animation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'biggan-jax\[video\]', or choose a \.gif"):
        write_mp4(io.BytesIO(), grey_frames(), 10)
