"""Whether an export on disk draws what its generator drew: asked of a fresh process, on the CPU.

Of every stored truncation (where there are many, of the two ends and some between) a few images are drawn
here from memory, and there from the files. They must be equal, byte by byte. The StableHLO program is another
compilation of the same arithmetic: its bytes may differ by one level of 255, in bfloat16 by one on average.
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

IMAGES = 2  # of each truncation
MOST_TRUNCATIONS = 8
SEED = 1


def verify(folder: Path, exported: ExportedGenerator) -> None:
    """Compares an export with the generator it was made of.

    Args:
      folder: of the export.
      exported: the generator.

    Raises:
      UserError: the fresh process fails, or draws other images.
    """
    expected = _draw(Sampler(exported, batch_size=IMAGES, devices=_cpu()))
    with tempfile.TemporaryDirectory() as temporary:
        drawn = Path(temporary) / "drawn.npz"
        command = [sys.executable, "-m", __name__, str(folder), str(drawn)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(f"the export does not load in a fresh process: {said[-1]}; nothing is left of it")
        with np.load(drawn) as arrays:
            found = dict(arrays)
    differing = (found["package"] != expected).mean()
    if differing:
        raise UserError(
            f"in a fresh process the export draws other images: {differing:.2%} of their bytes differ; "
            "nothing is left of it. Try again; if that does not help, look at this machine's memory and disk"
        )
    if "program" in found:
        _refuse_other_images(found["program"], expected, exported.model.dtype)


def _refuse_other_images(drawn: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    differences = np.abs(drawn.astype(int) - expected)
    off = differences.mean() if dtype == "bfloat16" else differences.max()
    if off > 1:
        raise UserError(
            f"the StableHLO program draws other images, by {differences.max()} levels of 255 at most and "
            f"{differences.mean():.2g} on average; nothing is left of the export. Leave --stablehlo out"
        )


def _cpu() -> list[jax.Device]:
    return jax.local_devices(backend="cpu")[:1]


def _truncations(sampler: Sampler) -> list[float]:
    stored = sampler.truncations
    count = min(len(stored), MOST_TRUNCATIONS)
    return [stored[number] for number in np.linspace(0, len(stored) - 1, count).astype(int)]


def _labels(sampler: Sampler) -> np.ndarray:
    return np.linspace(0, sampler.num_classes - 1, IMAGES).astype(np.int32)


def _draw(sampler: Sampler) -> np.ndarray:
    """u8[truncations, images, H, W, 3]."""
    labels = _labels(sampler)
    return np.stack([sampler.sample(labels, truncation, SEED) for truncation in _truncations(sampler)])


def _draw_by_program(sampler: Sampler, program: bytes) -> np.ndarray:
    call, labels = jax.jit(jax.export.deserialize(bytearray(program)).call), _labels(sampler)
    latents = {truncation: sampler.latents(IMAGES, truncation, SEED) for truncation in _truncations(sampler)}
    return np.stack([call(z, labels, np.float32(truncation)) for truncation, z in latents.items()])


def main(folder: Path, drawn: Path) -> None:
    """Draws by an export, in the fresh process, for `verify` to compare."""
    sampler = biggan_jax.load(folder, batch_size=IMAGES, devices=_cpu())
    arrays = {"package": _draw(sampler)}
    if (folder / PROGRAM).exists():
        arrays["program"] = _draw_by_program(sampler, (folder / PROGRAM).read_bytes())
    np.savez(drawn, **arrays)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
