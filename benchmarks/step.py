"""Peak memory and speed of a training step, by micro-batches, rematerialisation, dtype and batch size.

Examples:
  python -m benchmarks.step --config=configs/fashion_mnist.py
  python -m benchmarks.step --config=configs/fashion_mnist.py --micro_batches=1,8 --dtypes=float32 --json
  python -m benchmarks.step --config=configs/imagenet128.py --dtypes=bfloat16 --batch_sizes=64,128,256,512

A row for every combination, all in one run, on all devices, with images of noise: no data is needed. One
state goes through all of them, in rounds of a few steps each, so that what else the machine does is spread
over all rows; a speed is the median of its rounds. × is the ratio to the first row.

Memory is that of one device. `compiled` is the compiler's plan: arguments, temporaries, and results that are
not written over arguments. `measured` is the most that the device's allocator has had in use, where it keeps
count (CPUs don't); it never falls, so rows that did not raise it have none. TFLOP/s are those of convolutions
and matrix products, forward and backward, without what rematerialisation does again. The share of the
devices' peak is of bfloat16's, for bfloat16 rows on devices whose peak is known.
"""

import dataclasses
import itertools
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from biggan_jax.config import validate
from biggan_jax.models import flops
from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.state import abstract_state, create_state
from biggan_jax.training.step.update import make_update

# Dense TFLOP/s in bfloat16 of what JAX calls a device (a core of TPU v3, a chip of the others), from the
# makers' data sheets. The first pattern that is found in the device's name counts.
PEAK_TFLOPS = {
    r"H200": 989.0,
    r"H100 PCIe": 756.0,
    r"H100 NVL": 835.0,
    r"H100": 989.0,
    r"A100": 312.0,
    r"TPU v3": 61.5,
    r"TPU v4$": 275.0,
    r"TPU v5 lite|TPU v5e": 197.0,
    r"TPU v5": 459.0,
    r"TPU v6": 918.0,
}


@dataclasses.dataclass
class Row:
    """A setting, and what was found: None where it is not known, or the row ran out of memory."""

    batch_size: int
    micro_batches: int
    remat: bool
    dtype: str
    compiled_bytes: int | None = None
    measured_bytes: int | None = None
    steps_per_second: float | None = None
    images_per_second: float | None = None  # real images, of all D updates
    tflops: float | None = None  # a second, of all devices together
    share_of_peak: float | None = None
    out_of_memory: bool = False

    def config(self, base: ConfigDict) -> ConfigDict:
        """`base` in this setting.

        Raises:
          ConfigError: it cannot be run, such as a batch that devices and micro-batches do not divide.
        """
        config = base.copy_and_resolve_references()
        config.update(batch_size=self.batch_size, micro_batches=self.micro_batches)
        config.model.update(remat=self.remat, dtype=self.dtype)
        validate(config, replicas=jax.device_count())
        return config

    @contextmanager
    def noting_out_of_memory(self) -> Iterator[None]:
        """Around what may run out of memory: it is noted, and goes no further."""
        try:
            yield
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            self.out_of_memory = True


class Bench:
    """All devices, and the state that every step measured takes on from the one before."""

    def __init__(self, base: ConfigDict):
        self.base = base
        self.replicas = Replicas(base.replicas.mapping)
        self._state = self._fresh_state()

    def compile(self, config: ConfigDict) -> jax.stages.Compiled:
        """The step of `config`, for all devices."""
        on_cpu = self.replicas.devices[0].platform == "cpu"
        step = self.replicas.map(make_update(config, AXIS, unroll=on_cpu))
        return step.lower(self._state, self._noise(config)).compile()

    def seconds(self, step: jax.stages.Compiled, config: ConfigDict, steps: int) -> float:
        """Takes `steps` steps, and the time."""
        state = self._fresh_state() if self._state is None else self._state
        batch = self._noise(config)
        self._state = None  # donated: lost, if a step fails
        jax.block_until_ready((state, batch))
        start = time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, batch)
            if self.replicas.must_wait:
                jax.block_until_ready(state)
        jax.block_until_ready(state)
        self._state = state
        return time.perf_counter() - start

    def allocator_peak(self) -> int | None:
        """The most bytes that the first device has had in use so far, if its allocator keeps count."""
        return (self.replicas.devices[0].memory_stats() or {}).get("peak_bytes_in_use")

    def _fresh_state(self) -> Any:
        # The same for all settings: parameters are float32 whatever the layers compute in.
        return self.replicas.put_state(create_state(self.base))

    def _noise(self, config: ConfigDict) -> dict[str, jax.Array]:
        random = np.random.default_rng(0)
        shapes = batch_shapes(config)
        images = random.integers(0, 256, shapes["images"].shape, np.uint8)
        labels = random.integers(0, config.model.num_classes, shapes["labels"].shape, np.int32)
        return self.replicas.put_batch({"images": images, "labels": labels})


def measure(
    base: ConfigDict, rows: Sequence[Row], rounds: int, steps: int, tell: Callable[[str], None]
) -> None:
    """Fills in the rows.

    Args:
      base: a whole config; each row's setting takes the place of its fields.
      rows: with their settings.
      rounds: how often all rows are gone through, after one step of each to warm up.
      steps: of each row in each round.
      tell: takes a line on what is going on.

    Raises:
      ConfigError: one of the settings is impossible; before anything is compiled.
    """
    configs = [row.config(base) for row in rows]
    bench = Bench(base)
    compiled: list[tuple[Row, ConfigDict, jax.stages.Compiled, list[float]]] = []
    for number, (row, config) in enumerate(zip(rows, configs, strict=True), start=1):
        tell(f"compiling {number} of {len(rows)}")
        with row.noting_out_of_memory():
            step = bench.compile(config)
            row.compiled_bytes = planned_peak(step)
            compiled.append((row, config, step, []))

    # From the smallest up, for the sake of the allocator's peak.
    compiled.sort(key=lambda entry: entry[0].compiled_bytes)
    for number in range(rounds + 1):
        tell(f"round {number} of {rounds}" if number else "first steps")
        for row, config, step, seconds in compiled:
            if row.out_of_memory:
                continue
            before = bench.allocator_peak()
            with row.noting_out_of_memory():
                taken = bench.seconds(step, config, steps if number else 1)
                if number:
                    seconds.append(taken)
                elif before and (peak := bench.allocator_peak()) > before:
                    row.measured_bytes = peak

    work = {size: arithmetic(config) for size, config in {c.batch_size: c for c in configs}.items()}
    peak = peak_tflops(bench.replicas.devices[0].device_kind)
    for row, config, _, seconds in compiled:
        if not row.out_of_memory:
            row.steps_per_second = steps / statistics.median(seconds)
            row.images_per_second = row.steps_per_second * config.batch_size * config.d_steps
            row.tflops = row.steps_per_second * work[config.batch_size] / 1e12
            if peak and row.dtype == "bfloat16":
                row.share_of_peak = row.tflops / (peak * bench.replicas.count)


def planned_peak(step: jax.stages.Compiled) -> int:
    """Bytes of one device that the compiled step holds at its peak, by the compiler's account."""
    memory = step.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + results


def arithmetic(config: ConfigDict) -> int:
    """FLOP of the whole step of all replicas, without rematerialisation: the same in every dtype."""
    plain = config.copy_and_resolve_references()
    plain.micro_batches, plain.model.remat = 1, False
    return flops.count(jax.make_jaxpr(make_update(plain))(abstract_state(plain), batch_shapes(plain)))


def batch_shapes(config: ConfigDict) -> dict[str, jax.ShapeDtypeStruct]:
    """A global batch: `images: u8[d_steps, B, H, W, 3]`, `labels: i32[d_steps, B]`."""
    leading, size = (config.d_steps, config.batch_size), config.model.resolution
    return {
        "images": jax.ShapeDtypeStruct((*leading, size, size, 3), np.uint8),
        "labels": jax.ShapeDtypeStruct(leading, np.int32),
    }


def peak_tflops(device_kind: str) -> float | None:
    """Dense TFLOP/s in bfloat16 of a device by JAX's name for it; None if it is not in the table."""
    return next((peak for name, peak in PEAK_TFLOPS.items() if re.search(name, device_kind)), None)


def table(rows: Sequence[Row]) -> str:
    """The devices, and the rows as a Markdown table without columns that no row has a number in."""
    first = rows[0]
    cells = [
        {
            "batch": f"{row.batch_size}",
            "micro-batches": f"{row.micro_batches}",
            "remat": "yes" if row.remat else "no",
            "dtype": row.dtype,
            "MB compiled": _number(row.compiled_bytes, 1e-6),
            "× memory": _ratio(row.compiled_bytes, first.compiled_bytes),
            "MB measured": _number(row.measured_bytes, 1e-6),
            "steps/s": "out of memory" if row.out_of_memory else _number(row.steps_per_second),
            "images/s": _number(row.images_per_second),
            "× images/s": _ratio(row.images_per_second, first.images_per_second),
            "TFLOP/s": _number(row.tflops),
            "% of peak": _number(row.share_of_peak, 100),
        }
        for row in rows
    ]
    titles = [title for title in cells[0] if any(row[title] for row in cells)]
    widths = [max(len(title), *(len(row[title]) for row in cells)) for title in titles]
    rules = ["-" * (width - 1) + ":" for width in widths]
    lines = [titles, rules, *([row[title] for title in titles] for row in cells)]
    padded = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    return "\n".join([devices, "", *(f"| {' | '.join(line)} |" for line in padded)])


def as_json(rows: Sequence[Row]) -> str:
    """One object: `device`, `devices` (how many) and `rows`, each with the fields of `Row`."""
    found = {"device": jax.devices()[0].device_kind, "devices": jax.device_count()}
    return json.dumps(found | {"rows": [dataclasses.asdict(row) for row in rows]})


def _number(value: float | None, scale: float = 1) -> str:
    """Three digits, more for large numbers; nothing for None."""
    if value is None:
        return ""
    return f"{value * scale:,.0f}" if value * scale >= 100 else f"{value * scale:.3g}"


def _ratio(value: float | None, of_first: float | None) -> str:
    return f"{value / of_first:.2f}" if value and of_first else ""


def _whole_numbers(flag: str) -> list[int]:
    words = flags.FLAGS[flag].value
    if not words or not all(word.isdecimal() and int(word) for word in words):
        raise UserError(f"--{flag}={','.join(words)}: give whole numbers above 0 with commas between them")
    return [int(word) for word in words]


def _booleans(flag: str) -> list[bool]:
    words = flags.FLAGS[flag].value
    if not words or set(words) - {"false", "true"}:
        raise UserError(f"--{flag}={','.join(words)}: give false, true, or false,true")
    return [word == "true" for word in words]


def main(argv: Sequence[str]) -> None:
    del argv
    config = flags.FLAGS.config
    sizes = _whole_numbers("batch_sizes") if flags.FLAGS.batch_sizes else [config.batch_size]
    settings = itertools.product(
        sizes, _whole_numbers("micro_batches"), _booleans("remat"), flags.FLAGS.dtypes
    )
    rows = [Row(*setting) for setting in settings]
    measure(
        config,
        rows,
        flags.FLAGS.rounds,
        flags.FLAGS.steps,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(as_json(rows) if flags.FLAGS.json else table(rows))


if __name__ == "__main__":
    cli.define_config()
    flags.DEFINE_list("micro_batches", "1,2,4", "parts that a batch is worked through in")
    flags.DEFINE_list("remat", "false,true", "whether blocks are computed again in the backward pass")
    flags.DEFINE_list("dtypes", "float32,bfloat16", "what layers compute in")
    flags.DEFINE_list("batch_sizes", None, "images an update, over all devices; the config's if not given")
    flags.DEFINE_integer("rounds", 5, "how often all combinations are gone through", lower_bound=1)
    flags.DEFINE_integer("steps", 5, "steps of a combination in a round", lower_bound=1)
    flags.DEFINE_bool("json", False, "print one JSON object instead of a table")
    cli.run(main)
