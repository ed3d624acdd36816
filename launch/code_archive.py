"""The code that a pod gets: what git tracks here, as it is in the working tree when it is packed."""

import shlex
import subprocess
from pathlib import Path

from tpu_slice import ARCHIVE, say

from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.errors import UserError

ROOT = Path(__file__).parents[1]


def location(name: str) -> Path:
    """Where the packed code of a slice is kept, for when the slice has to be created again."""
    return cache_folder("pods", name, ARCHIVE)


def packing(name: str) -> str:
    """The shell command that packs."""
    root, file, folder = (shlex.quote(str(path)) for path in (ROOT, location(name), location(name).parent))
    return f"mkdir -p {folder} && git -C {root} ls-files -z | tar -C {root} --null -T - -czf {file}"


def pack(name: str) -> None:
    """Packs the code as it is now, and says what stays behind.

    Raises:
      UserError: this is no git clone, or a file that git tracks is not there.
    """
    packed = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {packing(name)}"], capture_output=True, text=True, errors="replace"
    )
    if packed.returncode:
        raise UserError(
            f"the files of {ROOT} could not be packed (is it a git clone?): {packed.stderr.strip()}"
        )
    others = ["git", "-C", str(ROOT), "ls-files", "--others", "--exclude-standard"]
    if untracked := subprocess.run(others, capture_output=True, text=True).stdout.splitlines():
        more = f" and {len(untracked) - 10} more" if len(untracked) > 10 else ""
        say(f"not sent, for git does not track them (git add): {', '.join(untracked[:10])}{more}")
