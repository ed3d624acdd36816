"""Trees of parameters and their leaves by path, such as "block_0/conv_1/kernel"."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

Tree = dict[str, Any]  # nested dictionaries of arrays, as Flax makes them


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves of a tree by path: `{"norm": {"gain": x}}` → `{"norm/gain": x}`."""
    return traverse_util.flatten_dict(tree, sep="/")


def unflatten(leaves: Mapping[str, Any]) -> Tree:
    """Returns the tree of leaves by path, the inverse of `flatten`."""
    return traverse_util.unflatten_dict(leaves, sep="/")
