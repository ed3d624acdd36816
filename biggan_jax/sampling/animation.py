"""Animations that go there and back, so that they loop without a jump: GIF, and MP4 by the extra `video`."""

import importlib.util
import io
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image

from biggan_jax.runtime.errors import UserError

QUALITY = "18"  # of x264: constant rate factor, at which a loss is hardly seen


def there_and_back(frames: np.ndarray) -> Iterator[np.ndarray]:
    """The frames `[T, …]`, then those between the last and the first, backwards."""
    yield from frames
    yield from frames[-2:0:-1]


def write_gif(file: IO[bytes], frames: np.ndarray, frames_per_second: int) -> None:
    """Writes frames u8[T, H, W, 3] as a GIF that loops for ever, there and back."""
    pictures = [Image.fromarray(frame) for frame in there_and_back(frames)]
    pictures[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
    )


def write_mp4(file: IO[bytes], frames: np.ndarray, frames_per_second: int) -> None:
    """Writes frames u8[T, H, W, 3] as H.264 in an MP4, once there and back; H and W are even."""
    refuse_without_video()
    import av

    buffer = io.BytesIO()  # an error of the disk, inside PyAV, would come out as one of PyAV's
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=frames_per_second)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": QUALITY}
        for frame in there_and_back(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode())
    file.write(buffer.getvalue())


def refuse_without_video() -> None:
    """Raises UserError if there is nothing to write MP4 with: best asked before long work."""
    if importlib.util.find_spec("av") is None:
        raise UserError("MP4 needs PyAV: pip install 'biggan-jax[video]', or choose a .gif")
