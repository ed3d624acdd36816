"""Inception-v3 against the same network in PyTorch, on random weights read from a file like the published."""

import numpy as np
import pytest
from inception_state import random_state
from rich.console import Console

from biggan_jax.evaluation.networks import feature_network, inception_weights

EPSILON = 1e-3


def torch_inception(state, images):
    """Features and logits, in float64, of u8[N, H, W, 3]; torch's operations called one by one.

    `state` is of torch tensors. Written after the description of the network (Szegedy et al. 2015, figures 5
    to 7; FID's differences from it), with batch norm as an operation of its own.
    """
    import torch
    from torch.nn import functional as F

    def conv(x, name, stride=1, padding=0):
        x = F.conv2d(x, state[f"{name}.conv.weight"], stride=stride, padding=padding)
        parts = (state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, *parts, training=False, eps=EPSILON))

    def run(x, block, *layers):
        for name, padding in layers:
            x = conv(x, f"{block}.{name}", padding=padding)
        return x

    def average(x):
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def halve(x):
        return F.max_pool2d(x, 3, stride=2)

    def block_a(x, block):
        return torch.cat(
            [
                run(x, block, ("branch1x1", 0)),
                run(x, block, ("branch5x5_1", 0), ("branch5x5_2", 2)),
                run(x, block, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1), ("branch3x3dbl_3", 1)),
                run(average(x), block, ("branch_pool", 0)),
            ],
            dim=1,
        )

    def block_b(x, block):
        deep = run(x, block, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
        strided = [conv(x, f"{block}.branch3x3", 2), conv(deep, f"{block}.branch3x3dbl_3", 2)]
        return torch.cat([*strided, halve(x)], dim=1)

    def block_c(x, block):
        row, column = (0, 3), (3, 0)
        deep = zip(range(1, 6), (0, column, row, column, row), strict=True)
        return torch.cat(
            [
                run(x, block, ("branch1x1", 0)),
                run(x, block, ("branch7x7_1", 0), ("branch7x7_2", row), ("branch7x7_3", column)),
                run(x, block, *((f"branch7x7dbl_{number}", padding) for number, padding in deep)),
                run(average(x), block, ("branch_pool", 0)),
            ],
            dim=1,
        )

    def block_d(x, block):
        narrow = run(x, block, ("branch3x3_1", 0))
        deep = run(x, block, ("branch7x7x3_1", 0), ("branch7x7x3_2", (0, 3)), ("branch7x7x3_3", (3, 0)))
        strided = [conv(narrow, f"{block}.branch3x3_2", 2), conv(deep, f"{block}.branch7x7x3_4", 2)]
        return torch.cat([*strided, halve(x)], dim=1)

    def block_e(x, block, pooled):
        narrow = run(x, block, ("branch3x3_1", 0))
        deep = run(x, block, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
        return torch.cat(
            [
                run(x, block, ("branch1x1", 0)),
                run(narrow, block, ("branch3x3_2a", (0, 1))),
                run(narrow, block, ("branch3x3_2b", (1, 0))),
                run(deep, block, ("branch3x3dbl_3a", (0, 1))),
                run(deep, block, ("branch3x3dbl_3b", (1, 0))),
                run(pooled, block, ("branch_pool", 0)),
            ],
            dim=1,
        )

    def matrix(length):
        """The resize as a matrix f64[299, length]: row i is bilinear at i · length / 299."""
        position = torch.arange(299, dtype=torch.float64) * length / 299
        distance = (position[:, None] - torch.arange(length, dtype=torch.float64)).abs()
        weights = (1 - distance).clamp(min=0)
        weights[:, -1] += 1 - weights.sum(dim=1)  # past the last pixel, it repeats
        return weights

    x = torch.from_numpy(images).to(torch.float64)
    x = torch.einsum("ih,jw,nhwc->ncij", matrix(images.shape[1]), matrix(images.shape[2]), x)
    x = (x - 128) / 128
    x = conv(x, "Conv2d_1a_3x3", 2)
    x = conv(conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3", padding=1)
    x = conv(halve(x), "Conv2d_3b_1x1")
    x = halve(conv(x, "Conv2d_4a_3x3"))
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = block_a(x, block)
    x = block_b(x, "Mixed_6a")
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = block_c(x, block)
    x = block_d(x, "Mixed_7a")
    x = block_e(x, "Mixed_7b", average(x))
    x = block_e(x, "Mixed_7c", F.max_pool2d(x, 3, stride=1, padding=1))
    pooled = x.mean(dim=(2, 3))
    return pooled.numpy(), (pooled @ state["fc.weight"].T).numpy()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The network as read from a .pth file, and a function that computes the same in PyTorch."""
    import torch

    state = {name: torch.from_numpy(array) for name, array in random_state(seed=0).items()}
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)  # as the published file is
    network = feature_network.from_inception(
        inception_weights.obtain(path, Console(quiet=True)), batch_size=4
    )
    doubled = {name: tensor.double() for name, tensor in state.items()}
    return network, lambda images: torch_inception(doubled, images)


@pytest.mark.peers
@pytest.mark.parametrize("height, width", [(32, 32), (128, 128), (299, 299), (512, 512), (75, 330)])
def test_features_and_logits_are_those_of_pytorch(both, height, width):
    network, in_torch = both
    images = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), np.uint8)
    images[1] = images[1] // 4 + np.arange(width, dtype=np.uint8)[:, None] % 128  # smoother than noise
    for ours, theirs in zip(network(images), in_torch(images), strict=True):
        error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
        assert error.max() < 1e-4
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).mean())
    # an assertion that both are constant would pass everything
    assert np.linalg.norm(theirs[0] - theirs[1]) > 0.01 * np.linalg.norm(theirs[0])
