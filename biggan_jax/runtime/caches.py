"""The folder of this machine in which downloads, copies and converted files are kept between runs."""

import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """Returns `$BIGGAN_CACHE`, by default `~/.cache/biggan_jax`, or a path in it.

    Args:
      *parts: Names of folders and a file below it, such as `("scans", "1f.json.gz")`.

    Returns:
      The path. Nothing is created.
    """
    return Path(os.environ.get("BIGGAN_CACHE") or Path.home() / ".cache" / "biggan_jax", *parts)
