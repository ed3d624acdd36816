"""Animations that run forwards and backwards, so that they loop without a jump: GIF, and MP4 with PyAV."""

import importlib.util
import io
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image

from biggan_jax.runtime.errors import UserError

QUALITY = "18"  # constant rate factor of x264 with a hardly visible loss


def forwards_and_backwards(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the frames `[T, …]`, then the frames between the last and the first in reverse order."""
    yield from frames
    yield from frames[-2:0:-1]


def write_gif(file: IO[bytes], frames: np.ndarray, frames_per_second: int) -> None:
    """Writes frames u8[T, H, W, 3] as a GIF that loops forever, forwards and backwards."""
    pictures = [Image.fromarray(frame) for frame in forwards_and_backwards(frames)]
    pictures[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
    )


def write_mp4(file: IO[bytes], frames: np.ndarray, frames_per_second: int) -> None:
    """Writes frames u8[T, H, W, 3] as H.264 in an MP4, once forwards and backwards; H and W are even."""
    refuse_without_video()
    import av

    buffer = io.BytesIO()  # PyAV would turn an error of the disk into an error of its own.
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=frames_per_second)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": QUALITY}
        for frame in forwards_and_backwards(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode())
    file.write(buffer.getvalue())


def refuse_without_video() -> None:
    """Raises UserError if PyAV, which writes MP4, is not installed; call it before long work."""
    if importlib.util.find_spec("av") is None:
        raise UserError("MP4 needs PyAV: pip install 'biggan-jax[video]', or choose a .gif")
