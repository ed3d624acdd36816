"""The step benchmark on networks of a few pixels: its numbers, its table, and what it does without memory."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import step as benchmark
from benchmarks.step import Row, arithmetic, as_json, measure, peak_tflops, planned_peak, table
from biggan_jax.config import default_config
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.replicas import Replicas

REPOSITORY = Path(__file__).parents[2]


def make_config(**fields):
    config = default_config()
    config.update(batch_size=64, d_steps=1)
    config.model.update(
        resolution=8,
        channels=4,
        generator_channels=(1, 1),
        discriminator_channels=(1, 1),
        num_classes=5,
        latent_dim=4,
        class_embedding_dim=4,
        attention_resolution=0,
    )
    config.data.source = "noise"
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope="module")
def measured():
    rows = [Row(64, 1, False, "float32"), Row(64, 2, False, "float32")]
    told = []
    with pytest.MonkeyPatch.context() as monkeypatch:  # compiling for one device takes less time
        monkeypatch.setattr(benchmark, "Replicas", lambda mapping: Replicas(mapping, jax.devices()[:1]))
        measure(make_config(), rows, rounds=2, steps=1, show=told.append)
    return rows, told


@pytest.mark.slow
def test_every_row_has_memory_and_a_speed(measured):
    rows, told = measured
    for row in rows:
        assert row.compiled_bytes > 0 and row.steps_per_second > 0 and not row.out_of_memory
        assert row.tflops == pytest.approx(row.steps_per_second * arithmetic(make_config()) / 1e12)
        assert row.measured_bytes is None and row.share_of_peak is None, "CPUs have neither"
    assert told[0] == "compiling 1 of 2" and told[-1] == "round 2 of 2"


@pytest.mark.slow
def test_more_micro_batches_take_less_memory(measured):
    whole, parts = (row.compiled_bytes for row in measured[0])
    assert parts < 0.8 * whole


def test_the_planned_peak_counts_results_written_over_arguments_once():
    x = jax.ShapeDtypeStruct((1000,), np.float32)

    def compiled(**options):
        return jax.jit(lambda a, b: (a + 1, b.sum()), **options).lower(x, x).compile()

    assert planned_peak(compiled(donate_argnums=0)) == pytest.approx(8_000, abs=300)
    assert planned_peak(compiled()) == pytest.approx(12_000, abs=300)


@pytest.mark.slow
def test_arithmetic_is_that_of_the_whole_batch_whatever_it_costs_to_save_memory():
    base = arithmetic(make_config())
    assert arithmetic(make_config(**{"model.remat": True, "micro_batches": 4})) == base
    assert arithmetic(make_config(**{"model.dtype": "bfloat16"})) == base
    assert arithmetic(make_config(batch_size=128)) == pytest.approx(2 * base, rel=0.02)


class FakeBench:
    """A device with 1,000 bytes on which a row takes as many as its batch has images, and a second a step."""

    def __init__(self, base):
        device = SimpleNamespace(device_kind="NVIDIA H100 80GB HBM3")
        self.replicas = SimpleNamespace(devices=[device] * 2, count=2)
        self.peak, self.order = 10, []

    def compile(self, config):
        if config.batch_size > 2000:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: in the compiler")
        return jax.jit(lambda x: x + 1).lower(jax.ShapeDtypeStruct((config.batch_size,), np.int8)).compile()

    def seconds(self, step, config, steps):
        if config.batch_size > 1000:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: in a step")
        self.order.append(config.batch_size)
        self.peak = max(self.peak, config.batch_size)
        return float(steps)

    def allocator_peak(self):
        return self.peak


@pytest.fixture
def fake_bench(monkeypatch):
    monkeypatch.setattr(benchmark, "Bench", FakeBench)
    monkeypatch.setattr(benchmark, "arithmetic", lambda config: 10**12 * config.batch_size)


def test_rows_that_run_out_of_memory_say_so_and_the_others_go_on(fake_bench):
    rows = [Row(size, 1, False, "float32") for size in (4000, 1600, 400)]
    measure(make_config(), rows, 2, 3, str)
    assert [row.out_of_memory for row in rows] == [True, True, False]
    assert [row.steps_per_second for row in rows] == [None, None, 1.0]
    assert [line.count("| out of memory |") for line in table(rows).splitlines()] == [0, 0, 0, 0, 1, 1, 0]


def test_the_allocators_peak_is_given_to_the_rows_that_raised_it(fake_bench):
    rows = [Row(size, 1, False, "float32") for size in (8, 400, 40, 400)]
    measure(make_config(), rows, 1, 1, str)
    assert [row.measured_bytes for row in rows] == [None, 400, 40, None]


def test_rows_take_turns_in_every_round(monkeypatch, fake_bench):
    benches = []
    monkeypatch.setattr(benchmark, "Bench", lambda base: benches.append(FakeBench(base)) or benches[0])
    measure(make_config(), [Row(size, 1, False, "float32") for size in (16, 8)], 2, 1, str)
    assert benches[0].order == [8, 16] * 3


def test_images_are_those_of_all_d_updates_and_the_peak_that_of_all_devices(fake_bench):
    row = Row(40, 1, False, "bfloat16")
    measure(make_config(d_steps=3), [row], 1, 5, str)
    assert row.images_per_second == 3 * 40
    assert row.tflops == 40 and row.share_of_peak == 40 / (2 * 989)


@pytest.mark.slow
def test_a_state_lost_in_a_failed_step_is_made_anew(monkeypatch):
    monkeypatch.setattr(benchmark, "create_state", lambda config: np.zeros(()))
    monkeypatch.setattr(
        benchmark, "make_update", lambda *args, **kwargs: lambda state, batch: (state + 1, {})
    )
    config = make_config(batch_size=8)
    bench = benchmark.Bench(config)
    step = bench.compile(config)

    def failing(state, batch):
        step(state, batch)  # takes the state with it
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    with pytest.raises(jax.errors.JaxRuntimeError):
        bench.seconds(failing, config, 1)
    assert bench.seconds(step, config, 1) > 0


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    row = Row(8, 1, False, "float32")
    with pytest.raises(jax.errors.JaxRuntimeError), row.noting_out_of_memory():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
    assert not row.out_of_memory


def test_an_impossible_combination_is_refused_before_anything_is_compiled():
    told = []
    with pytest.raises(UserError, match="config.batch_size = 64"):
        measure(
            make_config(), [Row(64, 1, False, "float32"), Row(64, 5, False, "float32")], 1, 1, told.append
        )
    assert told == []


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("TPU v3", 61.5),
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5e", 197),
        ("TPU v5", 459),
        ("TPU v5p", 459),
        ("TPU v6 lite", 918),
        ("TPU v4 lite", None),
        ("NVIDIA GeForce RTX 4090", None),
        ("cpu", None),
    ],
)
def test_peaks_are_those_of_the_device_or_none(kind, peak):
    assert peak_tflops(kind) == peak


def test_the_table_shows_ratios_to_its_first_row_and_no_empty_column():
    rows = [
        Row(64, 1, False, "float32", 400_000_000, None, 2.0, 256.0, 0.5),
        Row(64, 4, True, "bfloat16", 100_000_000, None, 1.0, 128.0, 0.25),
    ]
    devices, _, *lines = table(rows).splitlines()
    titles, _, _, second = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert devices == f"{jax.device_count()} × cpu"
    assert dict(zip(titles, second, strict=True)) == {
        "batch": "64",
        "micro-batches": "4",
        "remat": "yes",
        "dtype": "bfloat16",
        "MB compiled": "100",
        "× memory": "0.25",
        "steps/s": "1",
        "images/s": "128",
        "× images/s": "0.50",
        "TFLOP/s": "0.25",
    }
    rows[1].share_of_peak = 0.314
    assert table(rows).splitlines()[-1].endswith("      31.4 |")
    assert table(rows).splitlines()[-2].endswith("           |")


@pytest.mark.slow
def test_json_has_the_devices_and_every_field_of_every_row(measured):
    found = json.loads(as_json(measured[0]))
    assert found["device"] == "cpu" and found["devices"] == jax.device_count()
    assert [Row(**row) for row in found["rows"]] == measured[0]


@pytest.mark.parametrize(
    ("flag", "remedy"),
    [
        ("--micro_batches=1,x", "give whole numbers above 0 with commas between them"),
        ("--remat=maybe", "give false, true, or false,true"),
    ],
)
def test_a_wrong_flag_is_answered_with_its_remedy(flag, remedy):
    command = [sys.executable, "-m", "benchmarks.step", "--config=configs/fashion_mnist.py", flag]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 2 and done.stderr == f"error: {flag}: {remedy}\n"
