"""A run's directory: the config as JSON, files that appear whole or not at all, errors with a remedy."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from biggan_jax.cli import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns an `OSError` inside the block into a `UserError` that names `path`, the reason and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            remedy = "free some space and run the same command again; it goes on from the last checkpoint"
        else:
            remedy = "choose a --workdir that you can write to"
        raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes `content` so that a reader, or a run killed half-way, finds the old file or the new one.

    Raises:
      UserError: the disk is full, or `path` cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def config_to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as what JSON can hold (tuples become lists), so that a saved one compares equal to it."""
    return json.loads(config.to_json())


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"channels": 64}}` → `{"model.channels": 64}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The fields that both configs have with unequal values: `{"model.channels": "64 → 96"}`.

    A field that only one of them has (configs grow) is not a difference.
    """
    before, after = flatten(saved), flatten(now)
    return {
        field: f"{before[field]!r} → {after[field]!r}"
        for field in after
        if field in before and before[field] != after[field]
    }
