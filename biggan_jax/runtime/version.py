"""Version of this package and of others, and the commit of its checkout."""

import importlib.metadata
import os
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "biggan-jax"
UNKNOWN = "unknown"
ROOT = Path(__file__).parents[2]  # of the checkout, or where the package is installed


def version() -> str:
    """Returns the version of this package, such as "0.1.0".

    A source tree that is not installed has no metadata; there the version stands in its pyproject.toml.
    """
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return UNKNOWN
    return project["version"] if project.get("name") == PACKAGE else UNKNOWN


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns this package's version and those of other packages, by name."""
    found = {PACKAGE: version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = UNKNOWN
    return found


def git_commit() -> str | None:
    """Returns the commit of the checkout; None where the package is installed, or git is not.

    Returns:
      The hash in 40 hexadecimal digits, with `-dirty` after it if tracked files were changed.
    """
    if not (ROOT / ".git").exists():  # site-packages may be inside another project's checkout
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(
            describe, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
