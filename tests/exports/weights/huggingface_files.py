"""Folders of pytorch-pretrained-biggan with random numbers, and what its network makes of them."""

import json

import numpy as np
import plain_networks as plain
import torch_writer
from plain_published import TorchLayers, deep_block, per_image, whiten

# 64 px from the widths [16, 16, 8, 4, 2] · 4 … to one · 4, so that every kind of block is there.
CONFIG = {
    "output_dim": 64,
    "z_dim": 5,
    "class_embed_dim": 5,
    "channel_width": 4,
    "num_classes": 3,
    "layers": [
        [up, before, after if up else before]
        for before, after in ((16, 8), (8, 4), (4, 2), (2, 1))
        for up in (False, True)
    ],
    "attention_layer_position": 6,
    "eps": 1e-4,
    "n_stats": 6,
}


def write_folder(folder, config: dict, state: dict) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "pytorch_model.bin").write_bytes(torch_writer.save(state, legacy=True))


def random_state(config: dict, seed: int = 0) -> dict[str, np.ndarray]:
    rng, state = np.random.default_rng(seed), {}
    width, condition = config["channel_width"], 2 * config["z_dim"]

    def put(name: str, *shape: int, scale: float = 0.3, shift: float = 0.0) -> None:
        state[name] = np.asarray(shift + scale * rng.normal(size=shape), np.float32)

    def normalized(name: str, *shape: int, bias: bool = True) -> None:
        put(f"{name}.weight_orig", *shape)
        matrix = state[f"{name}.weight_orig"].reshape(shape[0], -1)
        # Near the singular vectors, as training leaves them, and not on them.
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        for part, vector in (("u", left[:, 0]), ("v", right[0])):
            vector = vector + 0.05 * rng.normal(size=vector.shape)
            state[f"{name}.weight_{part}"] = np.float32(vector / np.linalg.norm(vector))
        if bias:
            put(f"{name}.bias", shape[0])

    def statistics(name: str, channels: int) -> None:
        put(f"{name}.running_means", config["n_stats"], channels)
        state[f"{name}.running_vars"] = np.float32(rng.uniform(0.5, 2, (config["n_stats"], channels)))

    put("embeddings.weight", config["z_dim"], config["num_classes"], scale=1.0)
    normalized("generator.gen_z", 16 * 16 * width, condition)
    number = 0
    for index, (_, before, after) in enumerate(config["layers"]):
        before, after = before * width, after * width
        if index == config["attention_layer_position"]:
            name = f"generator.layers.{number}"
            put(f"{name}.gamma", 1, scale=0.1, shift=0.7)
            for part, shape in {
                "theta": (before // 8, before),
                "phi": (before // 8, before),
                "g": (before // 2, before),
                "o_conv": (before, before // 2),
            }.items():
                normalized(f"{name}.snconv1x1_{part}", *shape, 1, 1, bias=False)
            number += 1
        name, hidden = f"generator.layers.{number}", before // 4
        shapes = [(hidden, before, 1), (hidden, hidden, 3), (hidden, hidden, 3), (after, hidden, 1)]
        for part, (out, into, size) in enumerate(shapes):
            for kind in ("scale", "offset"):
                normalized(f"{name}.bn_{part}.{kind}", into, condition, bias=False)
            statistics(f"{name}.bn_{part}", into)
            normalized(f"{name}.conv_{part}", out, into, size, size)
        number += 1
    put("generator.bn.weight", width, shift=1.0)
    put("generator.bn.bias", width)
    statistics("generator.bn", width)
    normalized("generator.conv_to_rgb", width, width, 3, 3)
    return state


def _sigma(state: dict, name: str, matrix: np.ndarray) -> float:
    return state[f"{name}.weight_u"] @ matrix @ state[f"{name}.weight_v"]


def generate(config: dict, state: dict, z: np.ndarray, labels: np.ndarray, row: int) -> np.ndarray:
    """Images by the `row`th truncation of the grid, [N, H, W, 3]."""
    layers = TorchLayers(state, "weight_orig", _sigma)
    state = layers.state
    condition = np.concatenate([z, state["embeddings.weight"].T[labels]], axis=1)
    x = layers.linear(condition, "generator.gen_z").reshape(len(z), 4, 4, -1)

    def stored(x: np.ndarray, name: str) -> np.ndarray:
        return whiten(
            x, state[f"{name}.running_means"][row], state[f"{name}.running_vars"][row], config["eps"]
        )

    def norm(name: str):
        gain, bias = (layers.linear(condition, f"{name}.{kind}") for kind in ("scale", "offset"))
        return lambda x: stored(x, name) * (1 + per_image(gain)) + per_image(bias)

    number = 0
    for index, (up, _, _) in enumerate(config["layers"]):
        if index == config["attention_layer_position"]:
            name = f"generator.layers.{number}"
            parts = {"theta": "theta", "phi": "phi", "g": "g", "o": "o_conv"}
            parts = {ours: f"{name}.snconv1x1_{theirs}" for ours, theirs in parts.items()}
            x = layers.attention(x, parts, f"{name}.gamma")
            number += 1
        name = f"generator.layers.{number}"
        convs = [lambda x, layer=f"{name}.conv_{part}": layers.conv(x, layer) for part in range(4)]
        x = deep_block(x, [norm(f"{name}.bn_{part}") for part in range(4)], convs, up)
        number += 1
    x = plain.relu(stored(x, "generator.bn") * state["generator.bn.weight"] + state["generator.bn.bias"])
    return np.tanh(layers.conv(x, "generator.conv_to_rgb")[..., :3])
