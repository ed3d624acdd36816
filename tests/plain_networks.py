"""BigGAN and BigGAN-deep a second time, for the tests: numpy in float64, block by block as in the paper.

Nothing is rewritten or shared with the package but the names of the parameters: upsampling repeats pixels,
pooling averages after the convolution, attention is a loop over pixels. `weights` are what the layers see,
that is after spectral norm. Structure as in Brock et al. 2019, appendix B; the weights' names tell "deep".
"""

from typing import Any

import numpy as np

EPSILON = 1e-4


def random_params(shapes: Any, seed: int) -> Any:
    """Parameters of the given shapes, none at a value that hides mistakes (zero biases, unit gains)."""
    rng = np.random.default_rng(seed)

    def fill(name: str, leaf: Any) -> Any:
        if isinstance(leaf, dict):
            return {key: fill(key, value) for key, value in leaf.items()}
        values = rng.normal(size=leaf.shape)
        if name == "kernel":
            return values / np.sqrt(np.prod(leaf.shape[:-1]))
        return {"gain": 1.0, "gamma": 0.7}.get(name, 0.0) + 0.3 * values

    return fill("", shapes)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def linear(x: np.ndarray, layer: dict) -> np.ndarray:
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def conv(x: np.ndarray, layer: dict) -> np.ndarray:
    """3×3 or 1×1, zeros around the map, one tap at a time."""
    size, (height, width) = layer["kernel"].shape[0], x.shape[1:3]
    edge = size // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    taps = [
        padded[:, i : i + height, j : j + width] @ layer["kernel"][i, j]
        for i in range(size)
        for j in range(size)
    ]
    return sum(taps) + layer.get("bias", 0.0)


def upsample(x: np.ndarray) -> np.ndarray:
    return x.repeat(2, axis=1).repeat(2, axis=2)


def _corners(x: np.ndarray) -> list[np.ndarray]:
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def average_pool(x: np.ndarray) -> np.ndarray:
    return sum(_corners(x)) / 4


def max_pool(x: np.ndarray) -> np.ndarray:
    return np.max(_corners(x), axis=0)


def attention(x: np.ndarray, block: dict) -> np.ndarray:
    theta, phi, g = conv(x, block["theta"]), max_pool(conv(x, block["phi"])), max_pool(conv(x, block["g"]))
    attended = np.zeros(x.shape[:3] + g.shape[3:])
    for n in range(len(x)):
        keys, values = phi[n].reshape(-1, phi.shape[3]), g[n].reshape(-1, g.shape[3])
        for place in np.ndindex(x.shape[1:3]):
            scores = np.exp(keys @ theta[n][place])
            attended[n][place] = scores @ values / scores.sum()
    return x + block["gamma"] * conv(attended, block["o"])


class Generator:
    """G as a function; `seen` keeps the batch statistics of the last call by the batch norm's path."""

    def __init__(self, weights: dict, *, attention_resolution: int = 0, hierarchical: bool = True):
        self.weights, self.attention_resolution = weights, attention_resolution
        self.hierarchical = hierarchical
        self.count = sum(name.startswith("block_") for name in weights)
        self.deep = "conv_4" in weights["block_0"]
        self.seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.stored: dict[str, tuple[np.ndarray, np.ndarray]] | None = None

    def __call__(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        first, conditions = self._conditions(z, labels)
        x = linear(first, self.weights["linear"])
        x = x.reshape(len(z), 4, 4, -1)
        for index, condition in enumerate(conditions):
            name = f"block_{index}"
            block = self._deep_block if self.deep else self._block
            x, before = block(x, name, condition), x.shape[1]
            if x.shape[1] == self.attention_resolution != before:
                x = attention(x, self.weights["attention"])
        last = self.weights["norm"]
        x = relu(self._normalize(x, "norm") * last["gain"] + last["bias"])
        return np.tanh(conv(x, self.weights["conv"]))

    def _conditions(self, z: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        if "class_embedding" not in self.weights:
            return z, [labels] * self.count
        embedding = self.weights["class_embedding"]["embedding"][labels]
        if self.deep:
            both = np.concatenate([z, embedding], axis=1)
            return both, [both] * self.count
        if not self.hierarchical:
            return z, [embedding] * self.count
        size = z.shape[1] // (self.count + 1)
        chunks = [z[:, start : start + size] for start in range(0, z.shape[1], size)]
        return chunks[0], [np.concatenate([chunk, embedding], axis=1) for chunk in chunks[1:]]

    def _block(self, x: np.ndarray, name: str, condition: np.ndarray) -> np.ndarray:
        block = self.weights[name]
        h = relu(self._conditional_norm(x, f"{name}/norm_1", condition))
        h = conv(upsample(h), block["conv_1"])
        h = relu(self._conditional_norm(h, f"{name}/norm_2", condition))
        return conv(h, block["conv_2"]) + conv(upsample(x), block["conv_shortcut"])

    def _deep_block(self, x: np.ndarray, name: str, condition: np.ndarray) -> np.ndarray:
        block = self.weights[name]
        up = upsample if int(name.removeprefix("block_")) % 2 else lambda h: h  # every second block
        h = conv(relu(self._conditional_norm(x, f"{name}/norm_1", condition)), block["conv_1"])
        h = conv(up(relu(self._conditional_norm(h, f"{name}/norm_2", condition))), block["conv_2"])
        h = conv(relu(self._conditional_norm(h, f"{name}/norm_3", condition)), block["conv_3"])
        h = conv(relu(self._conditional_norm(h, f"{name}/norm_4", condition)), block["conv_4"])
        return h + up(x[..., : h.shape[3]])

    def _conditional_norm(self, x: np.ndarray, path: str, condition: np.ndarray) -> np.ndarray:
        block, name = path.split("/")
        norm = self.weights[block][name]
        if condition.ndim == 1:
            gain, bias = norm["gain"]["embedding"][condition], norm["bias"]["embedding"][condition]
        else:
            gain, bias = condition @ norm["gain"]["kernel"], condition @ norm["bias"]["kernel"]
        return self._normalize(x, path) * (1 + gain[:, None, None]) + bias[:, None, None]

    def _normalize(self, x: np.ndarray, path: str) -> np.ndarray:
        self.seen[path] = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        mean, variance = (self.stored or self.seen)[path]
        return (x - mean) / np.sqrt(variance + EPSILON)


def discriminator(
    weights: dict, images: np.ndarray, labels: np.ndarray, downsample: tuple[int, ...], attention_resolution=0
) -> np.ndarray:
    """Logits; `downsample` says for each block whether it halves the resolution."""
    deep = "conv_4" in weights["block_0"]
    x = conv(images, weights["conv"]) if deep else images
    for index, down in enumerate(downsample):
        block = weights[f"block_{index}"]
        x = _deep_d_block(x, block, down) if deep else _d_block(x, block, down, first=index == 0)
        stage_ends = index + 1 == len(downsample) or downsample[index + 1]
        if x.shape[1] == attention_resolution and (stage_ends if deep else down):
            x = attention(x, weights["attention"])
    h = relu(x).sum(axis=(1, 2))
    return linear(h, weights["linear"])[:, 0] + (h * weights["projection"]["kernel"].T[labels]).sum(axis=1)


def _d_block(x: np.ndarray, block: dict, down: int, first: bool) -> np.ndarray:
    pool = average_pool if down else lambda h: h
    h = conv(x if first else relu(x), block["conv_1"])
    h = pool(conv(relu(h), block["conv_2"]))
    return h + pool(conv(x, block["conv_shortcut"]) if "conv_shortcut" in block else x)


def _deep_d_block(x: np.ndarray, block: dict, down: int) -> np.ndarray:
    pool = average_pool if down else lambda h: h
    h = conv(relu(x), block["conv_1"])
    h = conv(relu(h), block["conv_2"])
    h = conv(relu(h), block["conv_3"])
    h = conv(pool(relu(h)), block["conv_4"])
    x = pool(x)
    if "conv_shortcut" in block:
        x = np.concatenate([x, conv(x, block["conv_shortcut"])], axis=3)
    return h + x
