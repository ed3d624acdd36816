"""Modules of TF-Hub's BigGANs with random numbers under the published names, and what they draw."""

from pathlib import Path

import numpy as np
import plain_networks as plain
from plain_published import TensorFlowLayers, deep_block, per_image, plain_block, whiten

from biggan_jax.data.tensorflow_runtime import import_tensorflow

AVERAGES = {False: "ema_b999900", True: "ema_0.9999"}  # by whether it is deep
ROWS = {False: 50, True: 51}


def random_variables(
    widths, *, deep: bool, attention: int | None, classes=3, embedding=6, chunk=4, outputs=3, seed=0
) -> dict[str, np.ndarray]:
    """The variables of a module, those that nobody reads included; `attention` is the width it has."""
    rng, variables, average = np.random.default_rng(seed), {}, AVERAGES[deep]

    def put(name: str, *shape: int, scale: float = 0.3, shift: float = 0.0) -> None:
        variables[name] = np.asarray(shift + scale * rng.normal(size=shape), np.float32)

    def averaged(name: str, *shape: int, scale: float = 0.3, shift: float = 0.0) -> None:
        put(name, *shape)  # the weight itself, which is not drawn from
        put(f"{name}/{average}", *shape, scale=scale, shift=shift)

    def normalized(name: str, *shape: int, bias: bool = True) -> None:
        averaged(f"{name}/w", *shape)
        for number in range(3):
            put(f"{name}/u{number}", 1, shape[-1], scale=1.0)
        if bias:
            averaged(f"{name}/b", *([1] * (len(shape) - 1) if len(shape) == 4 else []), shape[-1])

    def statistics(name: str, width: int) -> None:
        put(f"{name}/accumulated_mean", width)
        variables[f"{name}/accumulated_var"] = np.float32(rng.uniform(0.5, 2, width))
        variables[f"{name}/accumulation_counter"] = np.float32(200.0).reshape(())

    averaged("linear/w", classes, embedding, scale=1.0)
    first = "Generator/GenZ/G_linear" if deep else "Generator/G_Z/G_linear"
    normalized(first, chunk + (embedding if deep else 0), 16 * widths[0])
    depth = 2 if deep else 1
    for index in range(depth * (len(widths) - 1)):
        name = f"Generator/GBlock_{index}" if index else "Generator/GBlock"
        before, after = widths[index // depth], widths[(index + 1) // depth]
        hidden = before // 4
        if deep:
            shapes = [(1, before, hidden), (3, hidden, hidden), (3, hidden, hidden), (1, hidden, after)]
        else:
            shapes = [(3, before, after), (3, after, after)]
            normalized(f"{name}/conv_sc", 1, 1, before, after)
        for number, (size, into, out) in enumerate(shapes):
            normalized(f"{name}/conv{number}", size, size, into, out)
            suffix = f"_{number}" if number else ""
            norm = f"{name}/{'BatchNorm' if deep else 'HyperBN'}{suffix}"
            for part in ("scale", "offset") if deep else ("gamma", "beta"):
                normalized(f"{norm}/{part}", embedding + chunk, into, bias=False)
            statistics(norm if deep else f"{name}/CrossReplicaBN{suffix}", into)
    if attention:
        name = "Generator/attention"
        averaged(f"{name}/gamma", scale=0.1, shift=0.7)
        parts = {
            "theta": (attention, attention // 8),
            "phi": (attention, attention // 8),
            "g": (attention, attention // 2),
            "o_conv": (attention // 2, attention),
        }
        for part, shape in parts.items():
            normalized(f"{name}/{part}", 1, 1, *shape, bias=False)
    norm = "Generator/BatchNorm" if deep else "Generator/ScaledCrossReplicaBN"
    ones = () if deep else (1, 1, 1)
    averaged(f"{norm}/{'scale' if deep else 'gamma'}", *ones, widths[-1], shift=1.0)
    averaged(f"{norm}/{'offset' if deep else 'beta'}", *ones, widths[-1])
    statistics(norm if deep else f"{norm}bn", widths[-1])
    normalized("Generator/conv_to_rgb" if deep else "Generator/conv_2d", 3, 3, widths[-1], outputs)
    variables["global_step"] = np.array(170_000)
    return variables


def write_checkpoint(prefix: Path, variables: dict[str, np.ndarray], scope: str = "") -> None:
    tf = import_tensorflow()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    names = [scope + name for name in variables]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(array) for array in variables.values()],
    )


def batch_norms(deep: bool, blocks: int) -> list[str]:
    """Where the statistics of a module's batch norms are, in the order in which an image passes them."""
    names = []
    for index in range(blocks):
        block = f"Generator/GBlock_{index}" if index else "Generator/GBlock"
        norm = "BatchNorm" if deep else "CrossReplicaBN"
        names += [f"{block}/{norm}{f'_{n}' if n else ''}" for n in range(4 if deep else 2)]
    return [*names, "Generator/BatchNorm" if deep else "Generator/ScaledCrossReplicaBNbn"]


def random_tables(names: list[str], variables: dict, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Statistics by truncation: f32[rows, 2, width], mean and variance, by the batch norm's name."""
    rng, tables = np.random.default_rng(seed), {}
    for name in names:
        width = variables[f"{name}/accumulated_mean"].size
        table = np.stack([rng.normal(size=(rows, width)) * 0.3, rng.uniform(0.5, 2, (rows, width))], axis=1)
        tables[name] = table.astype(np.float32)
    return tables


def write_graph(path: Path, tables: list[np.ndarray], scope: str = "", others: str = "unlike") -> None:
    """saved_model.pb: of each five nodes called stack, the second and the fourth are means and variances.

    That is where pytorch-pretrained-BigGAN's converter finds them. The others are here of the same shape and
    type ("alike"), or "unlike", or there are "none". The nodes are in no order.
    """
    import_tensorflow()
    from tensorflow.core.protobuf import saved_model_pb2

    module = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    graph = module.meta_graphs.add().graph_def
    for index, table in reversed(list(enumerate(tables))):
        means, variances = table[:, 0], table[:, 1]
        if others == "none":
            _add_stack(graph, scope, 2 * index + 1, variances)
            _add_stack(graph, scope, 2 * index, means)
            continue
        rest = [np.zeros((2,), np.float32), np.zeros(means.shape, np.int32), np.ones((3,), np.float32)]
        rest = [np.zeros_like(means)] * 3 if others == "alike" else rest
        for place, rows in enumerate((rest[0], means, rest[1], variances, rest[2])):
            _add_stack(graph, scope, 5 * index + place, rows)
    path.write_bytes(module.SerializeToString())


def _add_stack(graph, scope: str, number: int, rows: np.ndarray) -> None:
    tf = import_tensorflow()
    name = f"{scope}stack_{number}" if number else f"{scope}stack"
    inputs = []
    for index, row in enumerate(rows):
        constant = graph.node.add(name=f"{name}/values_{index}", op="Const")
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(row))
        read = graph.node.add(name=f"{name}/read_{index}", op="Identity", input=[constant.name])
        inputs.append(read.name if index % 2 else f"{constant.name}:0")
    graph.node.add(name=name, op="Pack", input=inputs)


def generate(
    variables: dict, z: np.ndarray, labels: np.ndarray, *, attention_size: int, statistics
) -> np.ndarray:
    """Images, [N, H, W, 3]; `statistics(name)` gives a batch norm's mean and variance."""
    deep = "Generator/GenZ/G_linear/u0" in variables
    average, parts = AVERAGES[deep], ("scale", "offset") if deep else ("gamma", "beta")
    layers = TensorFlowLayers(variables, average)
    state = layers.state
    y = state[f"linear/w/{average}"][labels]
    blocks = [name for name in batch_norms(deep, 99) if f"{name}/accumulated_mean" in state]
    count = (len(blocks) - 1) // (4 if deep else 2)
    if deep:
        first = np.concatenate([z, y], axis=1)
        conditions = [first] * count
    else:
        first, *chunks = np.split(z, count + 1, axis=1)
        conditions = [np.concatenate([chunk, y], axis=1) for chunk in chunks]
    x = layers.linear(first, "Generator/GenZ/G_linear" if deep else "Generator/G_Z/G_linear")
    x = x.reshape(len(z), 4, 4, -1)

    def norm(block: str, number: int, condition: np.ndarray):
        suffix = f"_{number}" if number else ""
        weights = f"{block}/{'BatchNorm' if deep else 'HyperBN'}{suffix}"
        stored = f"{block}/{'BatchNorm' if deep else 'CrossReplicaBN'}{suffix}"
        gain, bias = (layers.linear(condition, f"{weights}/{part}") for part in parts)
        return lambda x: whiten(x, *statistics(stored), 1e-4) * (1 + per_image(gain)) + per_image(bias)

    for index, condition in enumerate(conditions):
        block = f"Generator/GBlock_{index}" if index else "Generator/GBlock"
        norms = [norm(block, number, condition) for number in range(4 if deep else 2)]
        convs = [lambda x, layer=f"{block}/conv{n}": layers.conv(x, layer) for n in range(4)]
        size = x.shape[1]
        if deep:
            x = deep_block(x, norms, convs, up=index % 2 == 1)
        else:
            shortcut = lambda x, layer=f"{block}/conv_sc": layers.conv(x, layer)  # noqa: E731
            x = plain_block(x, norms[0], convs[0], norms[1], convs[1], shortcut)
        if x.shape[1] == attention_size != size:
            names = {"theta": "theta", "phi": "phi", "g": "g", "o": "o_conv"}
            names = {ours: f"Generator/attention/{theirs}" for ours, theirs in names.items()}
            x = layers.attention(x, names, "Generator/attention/gamma")
    last = "Generator/BatchNorm" if deep else "Generator/ScaledCrossReplicaBN"
    x = whiten(x, *statistics(last if deep else f"{last}bn"), 1e-4)
    gain, bias = (
        state[f"{last}/{part}/{average}"] for part in (("scale", "offset") if deep else ("gamma", "beta"))
    )
    x = plain.relu(x * gain.reshape(-1) + bias.reshape(-1))
    return np.tanh(layers.conv(x, "Generator/conv_to_rgb" if deep else "Generator/conv_2d")[..., :3])
