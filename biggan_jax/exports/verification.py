"""Verification of an export: a fresh process must generate the same images from its files, on the CPU.

At the stored truncations (of many: the two ends and some between), this process generates a few images from
memory, and the fresh process from the files. They must be equal, byte for byte. The StableHLO program
compiles the same arithmetic in another way: its images may differ by one level of 255, in bfloat16 by one on
average.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.export
import numpy as np

import biggan_jax
from biggan_jax.exports.stablehlo import PROGRAM
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.sampler import Sampler

IMAGES = 2  # for each truncation
MOST_TRUNCATIONS = 8
SEED = 1


def verify(folder: Path, exported: ExportedGenerator) -> None:
    """Compares an export with the generator that it was written from.

    Args:
      folder: Folder of the export.
      exported: The generator.

    Raises:
      UserError: If the fresh process fails, or generates other images.
    """
    expected = _sample(Sampler(exported, batch_size=IMAGES, devices=_cpu()))
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "images.npz"
        command = [sys.executable, "-m", __name__, str(folder), str(output)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(f"the export does not load in a fresh process: {lines[-1]}; it has been removed")
        with np.load(output) as arrays:
            images = dict(arrays)
    differing = (images["package"] != expected).mean()
    if differing:
        raise UserError(
            f"in a fresh process the export generates other images: {differing:.2%} of their bytes differ; "
            "it has been removed. Try again; if the error returns, check memory and disk of this machine"
        )
    if "program" in images:
        _refuse_other_images(images["program"], expected, exported.model.dtype)


def _refuse_other_images(images: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    differences = np.abs(images.astype(int) - expected)
    off = differences.mean() if dtype == "bfloat16" else differences.max()
    if off > 1:
        raise UserError(
            f"the StableHLO program generates other images, by {differences.max()} levels of 255 at most and "
            f"{differences.mean():.2g} on average; the export has been removed. Leave --stablehlo out"
        )


def _cpu() -> list[jax.Device]:
    return jax.local_devices(backend="cpu")[:1]


def _truncations(sampler: Sampler) -> list[float]:
    stored = sampler.truncations
    count = min(len(stored), MOST_TRUNCATIONS)
    return [stored[number] for number in np.linspace(0, len(stored) - 1, count).astype(int)]


def _labels(sampler: Sampler) -> np.ndarray:
    return np.linspace(0, sampler.num_classes - 1, IMAGES).astype(np.int32)


def _sample(sampler: Sampler) -> np.ndarray:
    """Generates images: u8[truncations, images, H, W, 3]."""
    labels = _labels(sampler)
    return np.stack([sampler.sample(labels, truncation, SEED) for truncation in _truncations(sampler)])


def _run_program(sampler: Sampler, program: bytes) -> np.ndarray:
    call, labels = jax.jit(jax.export.deserialize(bytearray(program)).call), _labels(sampler)
    latents = {truncation: sampler.latents(IMAGES, truncation, SEED) for truncation in _truncations(sampler)}
    return np.stack([call(z, labels, np.float32(truncation)) for truncation, z in latents.items()])


def main(folder: Path, output: Path) -> None:
    """Generates images from an export in the fresh process; `verify` compares them."""
    sampler = biggan_jax.load(folder, batch_size=IMAGES, devices=_cpu())
    arrays = {"package": _sample(sampler)}
    if (folder / PROGRAM).exists():
        arrays["program"] = _run_program(sampler, (folder / PROGRAM).read_bytes())
    np.savez(output, **arrays)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
