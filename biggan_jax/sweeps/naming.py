"""Names of runs: the fields in which a run differs, in a form that directories, jobs and shells accept."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from biggan_jax.config import flatten

NAME = "name"  # key of an override that is not a field
MAX_LENGTH = 120  # characters of a directory's name; file systems allow 255 bytes
UNCHANGED = "base"  # name of a run whose override sets no field


def run_name(override: Mapping[str, Any], known: Collection[str]) -> str:
    """Returns the name of a run: the one that its override gives, or one such as `batch_size=64,channels=96`.

    Different overrides get different names. Unsafe characters become `_`; a name with such characters, and a
    name that is too long, ends in a hash of the original.

    Args:
      override: Values by field, of the fields' types.
      known: Names of all config fields.

    Returns:
      A name that directories, jobs and shells accept as it is.
    """
    text = str(override.get(NAME) or describe(override, known) or UNCHANGED)
    safe = re.sub(r"[^\w.,=+-]+", "_", text, flags=re.ASCII).lstrip("-.")
    if safe == text and len(text) <= MAX_LENGTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{safe[: MAX_LENGTH - 9].rstrip('-.')}-{digest}".lstrip("-")


def describe(override: Mapping[str, Any], known: Collection[str] = ()) -> str:
    """Returns the fields and values of an override, such as `batch_size=64,channels=96`.

    Args:
      override: Values by field.
      known: Names of all config fields; a field keeps its section where the last part alone is ambiguous.

    Returns:
      Fields in alphabetical order, separated by commas.
    """
    fields = sorted(field for field in override if field != NAME)
    return ",".join(f"{short_field(field, known)}={format_value(override[field])}" for field in fields)


def short_field(field: str, known: Collection[str]) -> str:
    """Returns the last part of a field's name, or all of it if another field ends in the same part."""
    last = field.rpartition(".")[2]
    others = (other for other in known if other != field and other.rpartition(".")[2] == last)
    return field if any(others) else last


def format_value(value: Any) -> str:
    """Formats a value in few characters: `true`, `0.0001`, `8x4x2x1`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    return str(value)


def differing_fields(configs: Sequence[ConfigDict]) -> list[str]:
    """Returns the dotted names of the fields that do not have one value in all configs.

    Args:
      configs: Configs with the same fields, at least one.

    Returns:
      Fields in the order of the configs.
    """
    first, *others = [flatten(config.to_dict()) for config in configs]
    return [field for field in first if any(other[field] != first[field] for other in others)]
