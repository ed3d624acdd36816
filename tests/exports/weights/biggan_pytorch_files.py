"""State dicts in BigGAN-PyTorch's layout with random numbers, and what its networks make of them."""

import numpy as np
import plain_networks as plain
from plain_published import TorchLayers, deep_block, per_image, plain_block, whiten

ATTENTION = ("theta", "phi", "g", "o")


class Writer:
    """Fills a state dict; no tensor has a value that would hide a mistake."""

    def __init__(self, seed: int):
        self.rng, self.state = np.random.default_rng(seed), {}

    def put(self, name: str, *shape: int, scale: float = 1.0, shift: float = 0.0) -> None:
        self.state[name] = np.asarray(shift + scale * self.rng.normal(size=shape), np.float32)

    def normalized(self, name: str, *shape: int, bias: bool = True) -> None:
        """A layer with spectral norm, [out, in(, h, w)]."""
        self.put(f"{name}.weight", *shape, scale=0.7)
        self.put(f"{name}.u0", 1, shape[0])
        self.put(f"{name}.sv0", 1)
        if bias:
            self.put(f"{name}.bias", shape[0], scale=0.3)

    def attention(self, name: str, width: int) -> None:
        for part in ("theta", "phi"):
            self.normalized(f"{name}.{part}", width // 8, width, 1, 1, bias=False)
        self.normalized(f"{name}.g", width // 2, width, 1, 1, bias=False)
        self.normalized(f"{name}.o", width, width // 2, 1, 1, bias=False)
        self.put(f"{name}.gamma", scale=0.1, shift=0.7)

    def statistics(self, name: str, width: int) -> None:
        self.put(f"{name}.stored_mean", width, scale=0.3)
        self.state[f"{name}.stored_var"] = np.float32(self.rng.uniform(0.5, 2.0, width))


def generator_state(
    widths, *, deep=False, classes=5, embedding=6, chunk=4, attention=None, seed=0, colours=3, unsplit=False
) -> dict[str, np.ndarray]:
    """G of blocks that take `widths` from 4×4 upward; `embedding` 0 gives each batch norm tables by class.

    `chunk` is the share of z that linear takes and, if there is an embedding and z is not `unsplit`, each
    batch norm; `attention` names a block that attention follows.
    """
    file = Writer(seed)
    if embedding:
        file.put("shared.weight", classes, embedding)
    file.normalized("linear", 16 * widths[0], chunk + (embedding if deep else 0))

    def norm(name: str, width: int) -> None:
        for part in ("gain", "bias"):
            if embedding:
                file.normalized(f"{name}.{part}", width, embedding + (0 if unsplit else chunk), bias=False)
            else:
                file.put(f"{name}.{part}.weight", classes, width, scale=0.3)
        file.statistics(name, width)

    depth = 2 if deep else 1
    for index in range(depth * (len(widths) - 1)):
        name = f"blocks.{index}.0"
        before, after = widths[index // depth], widths[(index + 1) // depth]
        if deep:
            hidden = before // 4
            shapes = [(hidden, before, 1), (hidden, hidden, 3), (hidden, hidden, 3), (after, hidden, 1)]
        else:
            shapes = [(after, before, 3), (after, after, 3)]
            file.normalized(f"{name}.conv_sc", after, before, 1, 1)
        for number, (out, into, size) in enumerate(shapes, start=1):
            file.normalized(f"{name}.conv{number}", out, into, size, size)
            norm(f"{name}.bn{number}", into)
        if attention == index:
            file.attention(f"blocks.{index}.1", after)
    file.put("output_layer.0.gain", widths[-1], scale=0.3, shift=1.0)
    file.put("output_layer.0.bias", widths[-1], scale=0.3)
    file.statistics("output_layer.0", widths[-1])
    file.normalized("output_layer.2", colours, widths[-1], 3, 3)
    return file.state


def discriminator_state(
    widths, downsample, *, deep=False, classes=5, attention=None, seed=1
) -> dict[str, np.ndarray]:
    """D of blocks (deep: stages of two) that give `widths`; `attention` names one that attention follows."""
    file = Writer(seed)
    if deep:
        file.normalized("input_conv", widths[0], 3, 3, 3)
    for index, (before, after) in enumerate(
        zip(widths if deep else [3, *widths], widths[deep:], strict=False)
    ):
        for part in range(2 if deep else 1):
            name = f"blocks.{index}.{part}"
            into = after if part else before
            if deep:
                hidden = after // 4
                shapes = [(hidden, into, 1), (hidden, hidden, 3), (hidden, hidden, 3), (after, hidden, 1)]
            else:
                shapes = [(after, into, 3), (after, after, 3)]
            for number, (out, inputs, size) in enumerate(shapes, start=1):
                file.normalized(f"{name}.conv{number}", out, inputs, size, size)
            if deep and after > into:
                file.normalized(f"{name}.conv_sc", after - into, into, 1, 1)
            if not deep and (after != into or downsample[index]):
                file.normalized(f"{name}.conv_sc", after, into, 1, 1)
        if attention == index:
            file.attention(f"blocks.{index}.{2 if deep else 1}", after)
    file.normalized("linear", 1, widths[-1])
    file.normalized("embed", classes, widths[-1], bias=False)
    return file.state


def _sigma(state: dict, name: str, matrix: np.ndarray) -> float:
    u = state[f"{name}.u0"]
    v = u @ matrix
    v /= np.linalg.norm(v)
    u = v @ matrix.T
    u /= np.linalg.norm(u)
    return (v @ matrix.T @ u.T).item()


def generate(state: dict, z: np.ndarray, labels: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    """Images of G in evaluation, [N, H, W, 3]."""
    layers = TorchLayers(state, "weight", _sigma)
    state = layers.state
    count = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    deep = "blocks.0.0.conv3.weight" in state
    first, conditions = z, [None] * count
    if "shared.weight" in state:
        y = state["shared.weight"][labels]
        if deep:
            first = np.concatenate([y, z], axis=1)
            conditions = [first] * count
        elif state["blocks.0.0.bn1.gain.weight"].shape[1] == y.shape[1]:
            conditions = [y] * count
        else:
            first, *chunks = np.split(z, count + 1, axis=1)
            conditions = [np.concatenate([y, chunk], axis=1) for chunk in chunks]
    x = layers.linear(first, "linear").reshape(len(z), -1, 4, 4).transpose(0, 2, 3, 1)

    def norm(name: str, condition):
        def apply(x: np.ndarray) -> np.ndarray:
            x = whiten(x, state[f"{name}.stored_mean"], state[f"{name}.stored_var"], epsilon)
            if condition is None:
                gain, bias = (state[f"{name}.{part}.weight"][labels] for part in ("gain", "bias"))
            else:
                gain, bias = (layers.linear(condition, f"{name}.{part}") for part in ("gain", "bias"))
            return x * (1 + per_image(gain)) + per_image(bias)

        return apply

    for index, condition in enumerate(conditions):
        name = f"blocks.{index}.0"
        norms = [norm(f"{name}.bn{number}", condition) for number in (1, 2, 3, 4)]
        convs = [lambda x, n=number, b=name: layers.conv(x, f"{b}.conv{n}") for number in (1, 2, 3, 4)]
        if deep:
            x = deep_block(x, norms, convs, up=index % 2 == 1)
        else:
            shortcut = lambda x, b=name: layers.conv(x, f"{b}.conv_sc")  # noqa: E731
            x = plain_block(x, norms[0], convs[0], norms[1], convs[1], shortcut)
        if f"blocks.{index}.1.gamma" in state:
            parts = {part: f"blocks.{index}.1.{part}" for part in ATTENTION}
            x = layers.attention(x, parts, f"blocks.{index}.1.gamma")
    x = whiten(x, state["output_layer.0.stored_mean"], state["output_layer.0.stored_var"], epsilon)
    x = plain.relu(x * state["output_layer.0.gain"] + state["output_layer.0.bias"])
    return np.tanh(layers.conv(x, "output_layer.2")[..., :3])


def judge(state: dict, images: np.ndarray, labels: np.ndarray, downsample) -> np.ndarray:
    """Logits of D in evaluation, [N]."""
    layers = TorchLayers(state, "weight", _sigma)
    state, x = layers.state, images
    deep = "input_conv.weight" in state
    if deep:
        x = layers.conv(x, "input_conv")
    for index, down in enumerate(downsample):
        if deep:
            for part in (0, 1):
                pool = plain.average_pool if down and part == 0 else lambda h: h
                h = x
                for number in (1, 2, 3):
                    h = layers.conv(plain.relu(h), f"blocks.{index}.{part}.conv{number}")
                h = layers.conv(pool(plain.relu(h)), f"blocks.{index}.{part}.conv4")
                x = pool(x)
                if f"blocks.{index}.{part}.conv_sc.weight" in state:
                    x = np.concatenate([x, layers.conv(x, f"blocks.{index}.{part}.conv_sc")], axis=3)
                x = h + x
        else:
            pool = plain.average_pool if down else lambda h: h
            h = layers.conv(plain.relu(x) if index else x, f"blocks.{index}.0.conv1")
            h = pool(layers.conv(plain.relu(h), f"blocks.{index}.0.conv2"))
            if f"blocks.{index}.0.conv_sc.weight" in state:
                x = layers.conv(x, f"blocks.{index}.0.conv_sc")
            x = h + pool(x)
        place = f"blocks.{index}.{2 if deep else 1}"
        if f"{place}.gamma" in state:
            x = layers.attention(x, {part: f"{place}.{part}" for part in ATTENTION}, f"{place}.gamma")
    h = plain.relu(x).sum(axis=(1, 2))
    return layers.linear(h, "linear")[:, 0] + (h * layers.divided("embed")[labels]).sum(axis=1)
