"""The folder of this machine in which downloads, copies and converted files are kept between runs."""

import contextlib
import os
from pathlib import Path

from biggan_jax.runtime.paths import user_path


def cache_folder(*parts: str) -> Path:
    """Returns `$BIGGAN_CACHE`, by default `~/.cache/biggan_jax`, or a path in it.

    Args:
      *parts: Names of folders and a file below it, such as `("scans", "1f.json.gz")`.

    Returns:
      The path. The cache's own folder is created, for its owner alone; nothing below it is.
    """
    folder = Path(user_path(os.environ.get("BIGGAN_CACHE") or "~/.cache/biggan_jax", "BIGGAN_CACHE="))
    with contextlib.suppress(OSError):  # whoever writes there reports it
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)  # names and paths of pictures are nobody else's business
    return folder.joinpath(*parts)
