"""Top singular values against numpy's decomposition on matrices that iterations stumble over."""

import json
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.training.monitoring import singular_values
from biggan_jax.training.monitoring.singular_values import as_metrics, top_singular_values


def with_singular_values(values, rows: int) -> np.ndarray:
    """A random matrix of [rows, len(values)] that has these."""
    random = np.random.default_rng(len(values))
    left, _ = np.linalg.qr(random.standard_normal((rows, len(values))))
    right, _ = np.linalg.qr(random.standard_normal((len(values), len(values))))
    return left * np.asarray(values) @ right.T


def gaussian(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


# A weight, and the relative error that each of its top three may have.
WEIGHTS = {
    "tall": (gaussian(300, 40), 1e-5),
    "wide": (gaussian(20, 150), 1e-5),
    "square": (gaussian(96, 96), 1e-5),
    "convolution": (gaussian(3, 3, 24, 48), 1e-5),
    "evenly_spaced": (with_singular_values(np.linspace(1, 0, 400), 400), 5e-4),
    "steep": (with_singular_values(100.0 ** -np.arange(0, 5), 30), 1e-3),
    "one_ran_away": (with_singular_values([1e4, *np.linspace(1.0, 0.5, 49)], 90), 1e-3),
    "orthogonal": (np.linalg.qr(gaussian(60, 30))[0], 1e-5),
    "top_two_equal": (with_singular_values([2, 2, *np.linspace(1.5, 0, 48)], 50), 1e-5),
    "top_four_equal": (with_singular_values([3] * 4 + [1] * 40, 50), 1e-5),
    "nearly_equal": (with_singular_values([1.001, 1.0, 0.999, *[0.5] * 30], 40), 1e-5),
    "rank_one": (np.outer(gaussian(40), gaussian(50)), 1e-5),
    "huge": (1e15 * gaussian(40, 20), 1e-5),
    "minute": (1e-15 * gaussian(40, 20), 1e-5),
    "one_column": (gaussian(64, 1), 1e-5),
    "one_row": (gaussian(1, 5), 1e-5),
    "two_columns": (gaussian(9, 2), 1e-5),
    "scalar": (np.array([[-2.5]]), 1e-5),
    "zeros": (np.zeros((7, 5)), 0.0),
}
BROKEN = {"with_nan": np.nan, "with_infinity": np.inf}


def as_params(matrices) -> dict:
    return {name: {"kernel": jnp.asarray(matrix, jnp.float32)} for name, matrix in matrices.items()}


@pytest.fixture(scope="module")
def params():
    broken = {name: np.where(np.eye(12, 6) > 0, value, 1.0) for name, value in BROKEN.items()}
    tree = as_params({name: matrix for name, (matrix, _) in WEIGHTS.items()} | broken)
    tree["zeros"]["bias"] = jnp.ones(5)
    return tree


@pytest.fixture(scope="module")
def found(params):
    return top_singular_values(params)


@pytest.mark.parametrize("name", WEIGHTS)
def test_top_three_are_those_of_a_dense_decomposition(found, name):
    matrix, tolerance = WEIGHTS[name]
    expected = np.zeros(3)
    values = np.linalg.svd(matrix.reshape(-1, matrix.shape[-1]), compute_uv=False)[:3]
    expected[: len(values)] = values
    top = found[f"{name}/kernel"]
    assert top.dtype == np.float32 and top.shape == (3,) and (np.diff(top) <= 0).all()
    # What is 0 in exact arithmetic may be rounding, in proportion to the largest.
    np.testing.assert_allclose(top, expected, rtol=tolerance, atol=3e-7 * expected[0])


@pytest.mark.parametrize("name", BROKEN)
def test_a_weight_that_is_not_finite_shows_and_leaves_the_others_alone(found, params, name):
    assert np.isnan(found[f"{name}/kernel"]).all()
    assert sum(np.isnan(values).any() for values in found.values()) == len(BROKEN)


def test_only_weights_are_looked_at_and_each_under_its_path(found, params):
    assert set(found) == {f"{name}/kernel" for name in params}


def test_a_second_look_compiles_nothing_and_sees_the_new_values(found, params):
    compiled = singular_values._grams._cache_size()
    doubled = top_singular_values(jax.tree.map(lambda x: 2 * x, params))
    assert singular_values._grams._cache_size() == compiled
    np.testing.assert_allclose(doubled["tall/kernel"], 2 * found["tall/kernel"], rtol=1e-6)


def test_replicated_parameters_are_worked_on_by_one_device_and_give_the_same(found, params, monkeypatch):
    grams, devices = singular_values._grams, []

    def spy(tree):
        devices.extend(len(leaf.devices()) for leaf in jax.tree.leaves(tree))
        return grams(tree)

    monkeypatch.setattr(singular_values, "_grams", spy)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("replicas",))
    replicated = jax.device_put(params, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    for path, values in top_singular_values(replicated).items():
        np.testing.assert_array_equal(values, found[path], err_msg=path)
    assert set(devices) == {1} and len(jax.devices()) > 1


def test_no_weight_is_copied_be_it_wide_or_tall():
    shapes = {"tall": (2304, 512), "wide": (256, 4608)}
    params = {name: {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)} for name, shape in shapes.items()}
    memory = singular_values._grams.lower(params).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.5 * 4 * 256 * 4608


PROCESS = """
import sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from biggan_jax.training.monitoring.singular_values import top_singular_values

jax.distributed.initialize(f"localhost:{sys.argv[1]}", num_processes=2, process_id=int(sys.argv[2]))
sharding = NamedSharding(Mesh(np.array(jax.devices()), "replicas"), PartitionSpec())
kernel = np.diag(np.arange(1.0, 9.0, dtype=np.float32))
replicated = jax.make_array_from_callback(kernel.shape, sharding, lambda index: kernel[index])
assert jax.process_count() == 2 and not replicated.is_fully_addressable
if sys.argv[2] == "1":  # on its own: nothing waits for the other process
    print(top_singular_values({"linear": {"kernel": replicated}})["linear/kernel"].tolist())
"""


def test_one_of_two_processes_can_look_alone_at_parameters_replicated_over_both():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, port, rank], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for rank in ("0", "1")
    ]
    try:
        outputs = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    np.testing.assert_allclose(json.loads(outputs[1][0]), [8, 7, 6], rtol=1e-5)


def test_columns_of_a_row_are_named_by_network_weight_and_place():
    values = {"generator/block_0/conv_1/kernel": np.array([3.0, 2.0, 0.5], np.float32)}
    assert as_metrics(values) == {
        "singular_values/generator/block_0/conv_1/1": 3.0,
        "singular_values/generator/block_0/conv_1/2": 2.0,
        "singular_values/generator/block_0/conv_1/3": 0.5,
    }
