"""BigGAN and BigGAN-deep in JAX and Flax (Brock, Donahue, Simonyan 2019, arXiv 1809.11096).

To sample from a folder that `python -m biggan_jax.export` or `.import_weights` has written:

    import biggan_jax
    generator = biggan_jax.load("EXPORT")
    images = generator.sample(classes=["sandal", 7], truncation=0.5, seed=0)  # u8[2, H, W, 3]
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biggan_jax.sampling.sampler import Sampler

__all__ = ["__version__", "load"]

__version__: str

if sys.argv[:1] == ["-m"]:  # a command of this package is about to start, python -m biggan_jax.…
    from biggan_jax.runtime.interruption import end_quietly

    end_quietly()


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'biggan_jax' has no attribute {name!r}")
    from biggan_jax.runtime.version import version

    return version()


def load(
    export: str | os.PathLike, *, batch_size: int | None = None, devices: Sequence[Any] | None = None
) -> "Sampler":
    """Loads an exported generator onto all devices of this process.

    Args:
      export: Folder of the export.
      batch_size: Number of images that a device generates at once, as in `Sampler`; None for as many as fit
        into memory.
      devices: JAX devices; None for all devices of this process.

    Returns:
      The sampler.

    Raises:
      UserError: The folder is not an export, or a file in it is missing, damaged or changed.
    """
    from pathlib import Path  # here: `import biggan_jax` alone imports no other module

    from biggan_jax.exports.export_files import read_export
    from biggan_jax.sampling.sampler import Sampler

    return Sampler(read_export(Path(export)), batch_size=batch_size, devices=devices)
