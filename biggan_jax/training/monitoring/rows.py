"""Rows of `metrics.jsonl`: one JSON object a line, with the step and numbers by name."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging
from etils import epath

from biggan_jax.runtime.json_values import parse_json

Row = Mapping[str, float | None]


def parse_row(line: str | bytes) -> dict[str, float | None] | None:
    """Returns the row of a line; None for a damaged line, or one that a killed process left incomplete."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    known = isinstance(row, dict) and isinstance(row.get("step"), int) and all(map(_is_entry, row.values()))
    return row if known else None


def read_rows(path: Path | epath.Path) -> list[dict[str, float | None]]:
    """Reads the rows of a file as `whole_rows` does; warns of damaged lines."""
    rows, remark = whole_rows(path)
    if remark:
        logging.warning("%s", remark)
    return rows


def whole_rows(path: Path | epath.Path) -> tuple[list[dict[str, float | None]], str]:
    """Reads the rows of a file.

    Args:
      path: Path of the file, which may not exist.

    Returns:
      The rows, oldest first, without damaged lines and a last line that is still being written; and a remark
      on the damaged lines, empty without any.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    parsed = [parse_row(line) for line in lines if line.endswith(b"\n")]
    rows = [row for row in parsed if row is not None]
    damaged = len(parsed) - len(rows)
    return rows, f"{path}: {damaged} of {len(parsed)} lines are damaged and left out" if damaged else ""


def _is_entry(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and math.isfinite(value))
