"""Packs the code for a pod: the files that git tracks, as they are in the working tree at that moment."""

import shlex
import subprocess
from pathlib import Path

from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.errors import UserError

from .tpu_slice import ARCHIVE, log

ROOT = Path(__file__).parents[1]


def location(name: str) -> Path:
    """Returns the path of the packed code of a slice, which is kept for when the slice is created again."""
    return cache_folder("pods", name, ARCHIVE)


def packing(name: str) -> str:
    """Returns the shell command that packs the code for a slice."""
    root, file, folder = (shlex.quote(str(path)) for path in (ROOT, location(name), location(name).parent))
    return f"mkdir -p {folder} && git -C {root} ls-files -z | tar -C {root} --null -T - -czf {file}"


def pack(name: str) -> None:
    """Packs the code as it is now, and prints which files git does not track.

    Args:
      name: Name of the slice.

    Raises:
      UserError: The code is not in a git clone, or a tracked file is missing.
    """
    packed = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {packing(name)}"], capture_output=True, text=True, errors="replace"
    )
    if packed.returncode:
        raise UserError(
            f"could not pack {ROOT}: {packed.stderr.strip()}; a slice gets the files of a git clone: run "
            "launch/tpu_pod.py from a clone of biggan_jax in which git tracks your configs"
        )
    others = ["git", "-C", str(ROOT), "ls-files", "--others", "--exclude-standard"]
    if untracked := subprocess.run(others, capture_output=True, text=True).stdout.splitlines():
        more = f" and {len(untracked) - 10} more" if len(untracked) > 10 else ""
        log(f"not sent, because git does not track them (git add): {', '.join(untracked[:10])}{more}")
