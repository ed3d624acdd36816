"""Random weights of the FID Inception-v3 under the names and in the shapes of the published file."""

import functools

import numpy as np

Layers = dict[str, tuple[int, int, int, int]]  # channels in and out, height and width of the kernel


def block_a(inputs: int, pooled: int) -> Layers:
    return {
        "branch1x1": (inputs, 64, 1, 1),
        "branch5x5_1": (inputs, 48, 1, 1),
        "branch5x5_2": (48, 64, 5, 5),
        "branch3x3dbl_1": (inputs, 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (inputs, pooled, 1, 1),
    }


def block_b() -> Layers:
    return {
        "branch3x3": (288, 384, 3, 3),
        "branch3x3dbl_1": (288, 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    }


def block_c(inner: int) -> Layers:
    return {
        "branch1x1": (768, 192, 1, 1),
        "branch7x7_1": (768, inner, 1, 1),
        "branch7x7_2": (inner, inner, 1, 7),
        "branch7x7_3": (inner, 192, 7, 1),
        "branch7x7dbl_1": (768, inner, 1, 1),
        "branch7x7dbl_2": (inner, inner, 7, 1),
        "branch7x7dbl_3": (inner, inner, 1, 7),
        "branch7x7dbl_4": (inner, inner, 7, 1),
        "branch7x7dbl_5": (inner, 192, 1, 7),
        "branch_pool": (768, 192, 1, 1),
    }


def block_d() -> Layers:
    return {
        "branch3x3_1": (768, 192, 1, 1),
        "branch3x3_2": (192, 320, 3, 3),
        "branch7x7x3_1": (768, 192, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    }


def block_e(inputs: int) -> Layers:
    return {
        "branch1x1": (inputs, 320, 1, 1),
        "branch3x3_1": (inputs, 384, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (inputs, 448, 1, 1),
        "branch3x3dbl_2": (448, 384, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (inputs, 192, 1, 1),
    }


STEM: Layers = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_3b_1x1": (64, 80, 1, 1),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
}
BLOCKS = {
    "Mixed_5b": block_a(192, 32),
    "Mixed_5c": block_a(256, 64),
    "Mixed_5d": block_a(288, 64),
    "Mixed_6a": block_b(),
    "Mixed_6b": block_c(128),
    "Mixed_6c": block_c(160),
    "Mixed_6d": block_c(160),
    "Mixed_6e": block_c(192),
    "Mixed_7a": block_d(),
    "Mixed_7b": block_e(1280),
    "Mixed_7c": block_e(2048),
}
LAYERS = STEM | {
    f"{block}.{name}": shape for block, layers in BLOCKS.items() for name, shape in layers.items()
}


@functools.cache
def random_state(seed: int) -> dict[str, np.ndarray]:
    """A state dict as numpy arrays: kernels that keep variance, batch norm that is far from the identity."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    state: dict[str, np.ndarray] = {}
    for name, (inputs, outputs, height, width) in LAYERS.items():
        scale = np.float32(np.sqrt(2 / (inputs * height * width)))
        state[f"{name}.conv.weight"] = normal(outputs, inputs, height, width) * scale
        state[f"{name}.bn.weight"] = 1 + normal(outputs) / 5
        state[f"{name}.bn.bias"] = normal(outputs) / 5
        state[f"{name}.bn.running_mean"] = normal(outputs) / 5
        state[f"{name}.bn.running_var"] = np.exp(normal(outputs) / 5)
        state[f"{name}.bn.num_batches_tracked"] = np.array(7)
    state["fc.weight"] = normal(1008, 2048) / np.float32(np.sqrt(2048))
    state["fc.bias"] = normal(1008)
    return state
