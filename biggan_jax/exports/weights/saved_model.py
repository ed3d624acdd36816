"""Standing statistics in the graph of a SavedModel, read without running it.

The published modules keep them outside of their variables: for each batch norm the graph stacks constants,
one for each truncation, into a table of means and one of variances. The graph is read as protocol buffers.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from biggan_jax.data.tensorflow_runtime import import_tensorflow
from biggan_jax.runtime.errors import UserError

# The converter in pytorch-pretrained-BigGAN takes these two of each five stacks for means and variances.
PLACES = (1, 3)
STACK = re.compile(r"(?P<scope>(?:.*/)?)stack(?:_(?P<number>\d{1,6}))?")


def standing_statistics(content: bytes, widths: Sequence[int], name: str) -> list[np.ndarray] | None:
    """Returns the statistics of a module.

    Args:
      content: Content of saved_model.pb.
      widths: Widths of the batch norms, in the order in which an image passes them.
      name: Name of the file in errors.

    Returns:
      Tables f32[truncations, width], mean and variance of each batch norm in turn; None if there are none.

    Raises:
      UserError: If the file is damaged.
    """
    import_tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    module = saved_model_pb2.SavedModel()
    try:
        module.ParseFromString(content)
    except DecodeError as error:
        raise UserError(f"{name} is damaged, or no SavedModel ({error}); get it again") from error
    wanted = [width for width in widths for _ in ("mean", "variance")]
    for graph in (meta.graph_def for meta in module.meta_graphs):
        for stacks in _stacks(graph, set(widths)):
            for numbers in (sorted(stacks), [n for n in sorted(stacks) if n % 5 in PLACES]):
                tables = [stacks[number] for number in numbers]
                if [table.shape[1] for table in tables] == wanted and len(set(map(len, tables))) == 1:
                    return tables
    return None


def _stacks(graph: Any, widths: set[int]) -> list[dict[int, np.ndarray]]:
    """Returns the stacks of constants with one of the widths by number, one dictionary for each scope."""
    nodes = {node.name: node for node in graph.node}
    scopes: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for node in graph.node:
        match = STACK.fullmatch(node.name)
        if match is None or node.op != "Pack":
            continue
        constants = [_constant(nodes, name, widths) for name in node.input]
        rows = [constant for constant in constants if constant is not None]
        if len(constants) == len(rows) > 1 and len(set(map(len, rows))) == 1:
            scopes[match["scope"]][int(match["number"] or 0)] = np.stack(rows)
    return list(scopes.values())


def _constant(nodes: dict[str, Any], name: str, widths: set[int]) -> np.ndarray | None:
    """Returns the value of a constant vector with one of the widths, also behind identities; else None."""
    tf = import_tensorflow()
    node = nodes.get(name.removesuffix(":0"))
    for _ in range(2):
        if node is None or node.op != "Identity" or not node.input:
            break
        node = nodes.get(node.input[0].removesuffix(":0"))
    if node is None or node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    # Checked before the array is made: a few bytes may declare any size.
    if tensor.dtype != tf.float32.as_datatype_enum or [axis.size for axis in tensor.tensor_shape.dim] not in (
        [width] for width in widths
    ):
        return None
    try:
        return tf.make_ndarray(tensor)
    except ValueError:  # the number of values does not fit the shape
        return None
