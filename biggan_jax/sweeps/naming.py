"""Names of runs: what an override changes, in a form that directories, jobs and shells take as it is."""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

NAME = "name"  # the key of an override that is no field
LONGEST = 120  # letters of a directory's name; file systems allow 255 bytes
UNCHANGED = "base"  # the run of an override without fields


def run_name(override: Mapping[str, Any], known: Collection[str]) -> str:
    """The name that the override gives its run, or `batch_size=64,channels=96`, safe to use anywhere.

    Unequal overrides have unequal names: letters that are not safe become `_`, and a hash of the whole is
    added then, and where the name is too long.

    Args:
      override: values by field, of the types that the fields have.
      known: all fields of the config.
    """
    text = str(override.get(NAME) or describe(override, known) or UNCHANGED)
    safe = re.sub(r"[^\w.,=+-]+", "_", text, flags=re.ASCII).lstrip("-.")
    if safe == text and len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{safe[: LONGEST - 9].rstrip('-.')}-{digest}".lstrip("-")


def describe(override: Mapping[str, Any], known: Collection[str] = ()) -> str:
    """`batch_size=64,channels=96`: its fields by the alphabet, without sections where that is enough."""
    fields = sorted(field for field in override if field != NAME)
    return ",".join(f"{short_field(field, known)}={spelled(override[field])}" for field in fields)


def short_field(field: str, known: Collection[str]) -> str:
    """`model.channels` → `channels`; the whole where another field's name ends in the same word."""
    last = field.rpartition(".")[2]
    others = (other for other in known if other != field and other.rpartition(".")[2] == last)
    return field if any(others) else last


def spelled(value: Any) -> str:
    """A value in few letters: `true`, `0.0001`, `8x4x2x1`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    return str(value)
