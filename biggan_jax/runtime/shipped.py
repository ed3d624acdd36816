"""Locates the files that come with the package: configs and sweeps, by path or by name.

In a clone they are in configs/ beside the package. An installed package has them inside, as
biggan_jax.configs.
"""

import difflib
import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"
SWEEPS = CONFIGS / "sweeps"


def shipped_names(folder: Path = CONFIGS) -> list[str]:
    """Returns the names of the shipped files in `folder`, without `.py`."""
    return sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")


def find(name: str, folder: Path = CONFIGS) -> Path | None:
    """Returns the file that `name` means, or None.

    Args:
      name: Path of a file; or a shipped file's name, also with `.py` and with its folder, as in
        "imagenet128", "imagenet128.py" and "configs/imagenet128.py". A path that exists comes first.
      folder: Folder of the shipped files, `CONFIGS` or `SWEEPS`.
    """
    name = os.path.expanduser(name)
    if os.path.isfile(name):
        return Path(name)
    path = Path(name)
    folders = [str(folder.relative_to(parent)) for parent in (CONFIGS.parent, CONFIGS, folder)]
    if str(path.parent) in folders and path.suffix in ("", ".py") and path.stem in shipped_names(folder):
        return folder / f"{path.stem}.py"
    return None


def suggestion(name: str, folder: Path = CONFIGS) -> str:
    """Returns the end of an error message: the shipped name that is most similar, and all of them."""
    names = shipped_names(folder)
    similar = difflib.get_close_matches(Path(name).stem, names, n=1)
    meant = f"; did you mean {similar[0]}?" if similar else "."
    return f"{meant} The shipped ones are {', '.join(names)}"
