"""Pictures that look, to a resize, like photographs: power falls with frequency as in nature."""

import functools

import numpy as np


@functools.cache
def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """u8[height, width, 3]: clouds of a falling spectrum with the hard edges of a few shapes."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1
    shared, *own = (
        np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency**1.6, s=(height, width))
        for _ in range(4)
    )
    pixels = np.stack([shared + 0.4 * one for one in own], axis=-1)
    pixels = 120 + 45 * (pixels - pixels.mean()) / pixels.std()
    y, x = np.mgrid[:height, :width]
    for _ in range(4):
        center, radius = rng.uniform(0, (height, width)), rng.uniform(0.05, 0.2) * min(height, width)
        pixels[np.hypot(y - center[0], x - center[1]) < radius] += rng.uniform(-60, 60, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)
