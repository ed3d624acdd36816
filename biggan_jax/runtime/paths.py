"""The rule for paths that a user gives, in a flag, in a field of the config or in an environment variable.

`~` is the home directory everywhere, also where the shell leaves it, as in `--output=~/x`. A path that no
file can have is refused before any work is done. This module is quick to import, for flags are checked before
anything heavy is loaded.
"""

import os

from biggan_jax.runtime.errors import UserError

LONGEST_NAME = 255  # bytes, of all file systems in use
LONGEST_PATH = 4095 - 256  # bytes, which leaves room for the files that a command puts into a directory
MOST_SHOWN = 80  # characters of a path that is too long for anything


def user_path(name: str | os.PathLike, prefix: str = "") -> str:
    """Returns a local path with `~` expanded; a URL such as `gs://BUCKET/…` is returned as it is.

    Args:
      name: Path as the user gave it. It need not exist.
      prefix: Text before the name in messages: the flag or field that holds it.

    Raises:
      UserError: The path is empty, too long, not UTF-8, below a file, or begins with an unknown user's home.
    """
    name = os.fspath(name)
    if not name.strip():
        raise UserError(f"{prefix}{name} is empty: give a path")
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(name).decode(errors="replace")
        raise UserError(f"{prefix}{shown}: the name is not UTF-8; rename it, or choose another") from error
    if b"\0" in encoded:
        raise UserError(f"{prefix}{name.replace(chr(0), '␀')}: a path has no NUL character; leave it out")
    if "://" in name:
        return name
    path = os.path.expanduser(name)
    if path.startswith("~"):
        home = path.partition("/")[0]
        raise UserError(
            f"{prefix}{name}: there is no user {home[1:]!r}; for a file of this name give ./{path}"
        )
    absolute = os.path.abspath(path)
    longest = max(len(part.encode()) for part in absolute.split("/"))
    if longest > LONGEST_NAME or len(absolute.encode()) > LONGEST_PATH:
        raise UserError(
            f"{prefix}{name[:MOST_SHOWN]}… is too long: a name may have {LONGEST_NAME} bytes, and a path "
            f"{LONGEST_PATH:,}; give a shorter one"
        )
    _refuse_below_file(absolute, prefix + name)
    return path


def _refuse_below_file(absolute: str, shown: str) -> None:
    parent = os.path.dirname(absolute)
    while not os.path.isdir(parent):
        if os.path.exists(parent):
            raise UserError(f"{shown} would be below {parent}, which is a file: give another path")
        parent = os.path.dirname(parent)
