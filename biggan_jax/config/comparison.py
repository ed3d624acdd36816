"""Compares configs, and turns them into what JSON can hold."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the fields under dotted names: `{"model": {"channels": 64}}` → `{"model.channels": 64}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def config_to_json(config: ConfigDict) -> dict[str, Any]:
    """Returns the config as JSON holds it: tuples become lists, so that a saved config compares equal."""
    return json.loads(config.to_json())


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Returns the fields that both configs have with unequal values: `{"model.channels": "64 → 96"}`.

    A field that only one of them has is not a difference: configs grow from version to version.
    """
    before, after = flatten(saved), flatten(now)
    return {
        field: f"{before[field]!r} → {after[field]!r}"
        for field in after
        if field in before and before[field] != after[field]
    }
