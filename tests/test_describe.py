"""Parameter counts against the published ones, and arithmetic against numbers worked out by hand."""

import json
import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from biggan_jax.config import config_to_json, default_config, flatten, validate
from biggan_jax.models.description import describe
from biggan_jax.training.step.losses import LOSSES

REPOSITORY = Path(__file__).parents[1]


def load(name: str, **overrides) -> ConfigDict:
    config = runpy.run_path(str(REPOSITORY / f"configs/{name}.py"))["get_config"]()
    config.update_from_flattened_dict(overrides)
    validate(config)
    return config


@pytest.mark.parametrize(
    ("name", "overrides", "generator", "discriminator"),
    [
        ("cifar10", {}, 4_304_387, 4_207_361),
        ("imagenet64", {}, 31_866_116, 20_571_842),
        ("imagenet128", {"model.channels": 64}, 31_978_628, 39_448_258),
        ("imagenet128", {}, 70_433_988, 87_982_370),
        ("imagenet128_deep", {}, 50_244_484, 34_590_210),
        ("imagenet256_deep", {}, 55_736_708, 38_247_426),
    ],
)
def test_parameters_are_exactly_those_of_the_published_networks(name, overrides, generator, discriminator):
    networks = json.loads(json.dumps(describe(load(name, **overrides).model)))
    assert networks["generator"]["parameters"] == generator
    assert networks["discriminator"]["parameters"] == discriminator


# Brock et al. 2019, table 1, as overrides of configs/imagenet128.py: millions of parameters in both networks.
UNSHARED = {"model.shared_embedding": False, "model.hierarchical_latents": False, "model.latent_dim": 128}
NO_SKIP = {"model.hierarchical_latents": False, "model.latent_dim": 128}
NO_ORTHOGONAL = {"optimizer.orthogonal_regularization": 0.0}
ABLATION = {
    "rows 2 to 4": (81.5, {"model.channels": 64, **UNSHARED, **NO_ORTHOGONAL}),
    "row 5": (173.5, {**UNSHARED, **NO_ORTHOGONAL}),
    "row 6": (160.6, {**NO_SKIP, **NO_ORTHOGONAL}),
    "row 7": (158.3, NO_ORTHOGONAL),
    "row 8": (158.3, {}),
    "row 9": (71.3, {"model.channels": 64}),
}


@pytest.mark.parametrize(("millions", "overrides"), ABLATION.values(), ids=ABLATION.keys())
def test_ablation_rows_have_the_parameters_of_table_1(millions, overrides):
    config = load("imagenet128", **overrides)
    networks = describe(config.model)
    total = sum(network["parameters"] for network in networks.values())
    assert total / 1e6 == pytest.approx(millions, rel=0.003)
    # Without the shared class embedding, which the paper seems to leave out, every digit in the table agrees.
    embedding = config.model.num_classes * config.model.class_embedding_dim * config.model.shared_embedding
    assert round((total - embedding) / 1e6, 1) == millions


@pytest.fixture(scope="module")
def cifar():
    return describe(load("cifar10").model)


def modules(network):
    return {module["name"]: module for module in network["modules"]}


def test_modules_add_up_to_the_totals(cifar):
    for networks in (cifar, describe(load("imagenet128_deep", **{"model.remat": True}).model)):
        for network in networks.values():
            for total in ("parameters", "gflops_per_image"):
                assert sum(module[total] for module in network["modules"]) == pytest.approx(
                    network[total], rel=1e-12
                )


def test_modules_come_in_calling_order_with_the_shapes_of_one_image(cifar):
    generator, discriminator = cifar["generator"]["modules"], cifar["discriminator"]["modules"]
    assert [(module["name"], tuple(module["output_shape"])) for module in generator] == [
        ("linear", (4 * 4 * 256,)),
        ("block_0", (8, 8, 256)),
        ("block_1", (16, 16, 256)),
        ("block_2", (32, 32, 256)),
        ("norm", (32, 32, 256)),
        ("conv", (32, 32, 3)),
    ]
    blocks = [tuple(module["output_shape"]) for module in discriminator if module["name"].startswith("block")]
    assert blocks == [(16, 16, 256), (8, 8, 256), (8, 8, 256), (8, 8, 256)]


def test_generator_block_counts_each_convolution_as_computed(cifar):
    # block_2, 16×16 → 32×32, 256 channels: a 3×3 convolution after upsampling, merged into four 2×2 ones; a
    # plain 3×3; and the shortcut's 1×1 before upsampling. Gains and biases by class are looked up.
    merged = 2 * 32 * 32 * 256 * (2 * 2 * 256)
    plain = 2 * 32 * 32 * 256 * (3 * 3 * 256)
    shortcut = 2 * 16 * 16 * 256 * 256
    counted = modules(cifar["generator"])["block_2"]["gflops_per_image"]
    assert counted == pytest.approx((merged + plain + shortcut) / 1e9, rel=1e-12)


def test_discriminator_block_counts_each_convolution_as_computed(cifar):
    # block_0, 32×32 RGB → 16×16, 256 channels: a plain 3×3; a 3×3 before pooling, merged into a strided 4×4;
    # and the shortcut's 1×1 after pooling.
    plain = 2 * 32 * 32 * 256 * (3 * 3 * 3)
    merged = 2 * 16 * 16 * 256 * (4 * 4 * 256)
    shortcut = 2 * 16 * 16 * 256 * 3
    counted = modules(cifar["discriminator"])["block_0"]["gflops_per_image"]
    assert counted == pytest.approx((plain + merged + shortcut) / 1e9, rel=1e-12)


def test_attention_counts_projections_and_both_products():
    attention = modules(describe(load("imagenet64").model)["generator"])["attention"]
    pixels, c = 32 * 32, 4 * 64  # after the block that ends at 32×32
    projections = 2 * pixels * c * (c // 8 + c // 8 + c // 2 + c // 2)
    products = 2 * pixels * (pixels // 4) * (c // 8 + c // 2)  # keys and values are pooled 2×2
    assert attention["gflops_per_image"] == pytest.approx((projections + products) / 1e9, rel=1e-12)


@pytest.mark.parametrize("words", [["--json"], []], ids=["json", "table"])
def test_command_describes_512_pixels_in_seconds_without_touching_a_device(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-m", "biggan_jax.describe", "--config=configs/imagenet512.py", *words],
        cwd=REPOSITORY,
        env={"PATH": "", "JAX_PLATFORMS": "none-such"},  # any use of a device would fail
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, which other work on the machine does not stretch.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20
    if words:
        networks = json.loads(result.stdout)
        assert set(networks) == {"generator", "discriminator"}
        for network in networks.values():
            assert set(network) == {"parameters", "gflops_per_image", "modules"}
        assert networks["generator"]["parameters"] == 82_296_804
    else:
        assert "82,296,804" in result.stdout and "512×512×96" in result.stdout


def fields(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "biggan_jax.describe", "--fields", *words],
        cwd=REPOSITORY,
        env={"PATH": "", "JAX_PLATFORMS": "none-such", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_fields_lists_every_field_of_the_default_config_with_its_default():
    rows = json.loads(fields("--json").stdout)
    defaults = flatten(config_to_json(default_config()))
    assert {row["field"]: row["default"] for row in rows} == defaults
    assert all(set(row) == {"field", "section", "type", "default", "allowed", "meaning"} for row in rows)
    (loss,) = (row for row in rows if row["field"] == "loss")
    assert loss["allowed"] == f"one of {', '.join(map(repr, LOSSES))}"


def test_fields_with_a_config_and_overrides_shows_their_values():
    rows = json.loads(fields("--json", "--config=cifar10", "--config.seed=7").stdout)
    values = {row["field"]: row["value"] for row in rows}
    assert values["seed"] == 7 and values["batch_size"] == 50 and values["model.generator_channels"] == []
    table = fields("--config=cifar10").stdout
    line = next(line for line in table.splitlines() if line.split()[:1] == ["batch_size"])
    assert line.split()[1:3] == ["2048", "50"]


def test_describe_without_a_config_or_fields_is_an_error():
    done = subprocess.run(
        [sys.executable, "-m", "biggan_jax.describe"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("error: give --config=NAME")
