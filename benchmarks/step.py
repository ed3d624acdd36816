"""Peak memory and speed of a training step, by micro-batches, rematerialisation, dtype and batch size.

Examples:
  python -m benchmarks.step --config=configs/fashion_mnist.py
  python -m benchmarks.step --config=configs/fashion_mnist.py --micro_batches=1,8 --dtypes=float32 --json
  python -m benchmarks.step --config=configs/imagenet128.py --dtypes=bfloat16 --batch_sizes=64,128,256,512

Each combination has a row. All rows run in one process, on all devices, with images of noise, so no data is
needed. One state passes through all of them in rounds of a few steps, which spreads the machine's other work
over all rows; a speed is the median over rounds. × is the ratio to the first row.

Memory is that of one device. `compiled` is the compiler's plan: arguments, temporaries, and results that do
not overwrite arguments. `measured` is the allocator's peak, where the allocator counts it (CPUs do not); it
never falls, so a row that did not raise it has none. TFLOP/s count convolutions and matrix products, forward
and backward, without rematerialisation. The share of peak is for bfloat16 rows on devices with a known peak.
"""

import dataclasses
import itertools
import json
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
from biggan_jax.runtime.chips import peak_tflops
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.state import abstract_state, create_state
from biggan_jax.training.step.update import make_update


@dataclasses.dataclass
class Row:
    """A setting and its results; None for a result that is not known, or if the row ran out of memory.

    Attributes:
      batch_size: Images of one update, over all devices.
      micro_batches: Micro-batches of each batch.
      remat: Whether blocks are recomputed in the backward pass.
      dtype: Dtype in which layers compute.
      compiled_bytes: Memory of one device in the compiler's plan.
      measured_bytes: Peak of the allocator.
      steps_per_second: Median over rounds.
      images_per_second: Real images of all D updates.
      tflops: TFLOP/s of all devices together.
      share_of_peak: Share of the devices' peak.
      out_of_memory: Whether the row ran out of memory.
    """

    batch_size: int
    micro_batches: int
    remat: bool
    dtype: str
    compiled_bytes: int | None = None
    measured_bytes: int | None = None
    steps_per_second: float | None = None
    images_per_second: float | None = None
    tflops: float | None = None
    share_of_peak: float | None = None
    out_of_memory: bool = False

    def config(self, base: ConfigDict) -> ConfigDict:
        """Returns `base` with this setting.

        Args:
          base: Complete config.

        Returns:
          A copy.

        Raises:
          ConfigError: The setting cannot run, such as a batch that devices and micro-batches do not divide.
        """
        config = base.copy_and_resolve_references()
        config.update(batch_size=self.batch_size, micro_batches=self.micro_batches)
        config.model.update(remat=self.remat, dtype=self.dtype)
        validate(config, replicas=jax.device_count())
        return config

    @contextmanager
    def noting_out_of_memory(self) -> Iterator[None]:
        """Catches a lack of memory, and sets `out_of_memory`."""
        try:
            yield
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            self.out_of_memory = True


class Bench:
    """All devices, and the state that passes from one measured step to the next.

    Attributes:
      base: Config before settings.
      replicas: The devices.
    """

    def __init__(self, base: ConfigDict):
        self.base = base
        self.replicas = Replicas(base.replicas.mapping)
        self._state = self._fresh_state()

    def compile(self, config: ConfigDict) -> jax.stages.Compiled:
        """Compiles the step of `config` for all devices."""
        on_cpu = self.replicas.devices[0].platform == "cpu"
        step = self.replicas.map(make_update(config, AXIS, unroll=on_cpu))
        return step.lower(self._state, self._noise(config)).compile()

    def seconds(self, step: jax.stages.Compiled, config: ConfigDict, steps: int) -> float:
        """Runs `steps` steps; returns the seconds that they took."""
        state = self._fresh_state() if self._state is None else self._state
        batch = self._noise(config)
        self._state = None  # donated: a step that fails loses it
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
        """Returns the peak of the first device's allocator in bytes, or None if it does not count."""
        return (self.replicas.devices[0].memory_stats() or {}).get("peak_bytes_in_use")

    def _fresh_state(self) -> Any:
        # One state for all settings: parameters are float32 in every compute dtype.
        return self.replicas.put_state(create_state(self.base))

    def _noise(self, config: ConfigDict) -> dict[str, jax.Array]:
        random = np.random.default_rng(0)
        shapes = batch_shapes(config)
        images = random.integers(0, 256, shapes["images"].shape, np.uint8)
        labels = random.integers(0, config.model.num_classes, shapes["labels"].shape, np.int32)
        return self.replicas.put_batch({"images": images, "labels": labels})


def measure(
    base: ConfigDict, rows: Sequence[Row], rounds: int, steps: int, show: Callable[[str], None]
) -> None:
    """Measures all rows, and fills in their results.

    Args:
      base: Complete config; each row's setting replaces some of its fields.
      rows: Rows with their settings.
      rounds: Number of rounds over all rows, after one step of each to warm up.
      steps: Number of steps of each row in each round.
      show: Function that prints a line of progress.

    Raises:
      ConfigError: A setting is impossible; raised before anything is compiled.
    """
    configs = [row.config(base) for row in rows]
    bench = Bench(base)
    compiled: list[tuple[Row, ConfigDict, jax.stages.Compiled, list[float]]] = []
    for number, (row, config) in enumerate(zip(rows, configs, strict=True), start=1):
        show(f"compiling {number} of {len(rows)}")
        with row.noting_out_of_memory():
            step = bench.compile(config)
            row.compiled_bytes = planned_peak(step)
            compiled.append((row, config, step, []))

    # In ascending order, because the allocator's peak never falls.
    compiled.sort(key=lambda entry: entry[0].compiled_bytes or 0)
    for number in range(rounds + 1):
        show(f"round {number} of {rounds}" if number else "first steps")
        for row, config, step, seconds in compiled:
            if row.out_of_memory:
                continue
            before = bench.allocator_peak()
            with row.noting_out_of_memory():
                taken = bench.seconds(step, config, steps if number else 1)
                if number:
                    seconds.append(taken)
                elif before and (peak := bench.allocator_peak() or 0) > before:
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
    """Returns the bytes of one device that a compiled step holds at its peak, in the compiler's plan."""
    memory = step.memory_analysis()
    assert memory is not None, "this backend does not plan memory"
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + results


def arithmetic(config: ConfigDict) -> int:
    """Returns the FLOP of a step of all replicas, without rematerialisation; every dtype has the same."""
    plain = config.copy_and_resolve_references()
    plain.micro_batches, plain.model.remat = 1, False
    return flops.count(jax.make_jaxpr(make_update(plain))(abstract_state(plain), batch_shapes(plain)))


def batch_shapes(config: ConfigDict) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of a global batch: `images: u8[d_steps, B, H, W, 3]`, `labels: i32[d_steps, B]`."""
    leading, size = (config.d_steps, config.batch_size), config.model.resolution
    return {
        "images": jax.ShapeDtypeStruct((*leading, size, size, 3), np.uint8),
        "labels": jax.ShapeDtypeStruct(leading, np.int32),
    }


def table(rows: Sequence[Row]) -> str:
    """Returns the devices, and the rows as a Markdown table without empty columns."""
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
    """Returns one JSON object: `device`, `devices` (their number) and `rows`, with the fields of `Row`."""
    device = {"device": jax.devices()[0].device_kind, "devices": jax.device_count()}
    return json.dumps(device | {"rows": [dataclasses.asdict(row) for row in rows]})


def _number(value: float | None, scale: float = 1) -> str:
    """Formats a number with three digits, more above 100; empty for None."""
    if value is None:
        return ""
    return f"{value * scale:,.0f}" if value * scale >= 100 else f"{value * scale:.3g}"


def _ratio(value: float | None, of_first: float | None) -> str:
    return f"{value / of_first:.2f}" if value and of_first else ""


def _whole_numbers(flag: str) -> list[int]:
    words = flags.FLAGS[flag].value
    if not words or not all(word.isdecimal() and int(word) for word in words):
        raise UserError(
            f"--{flag}={','.join(words or [])}: give whole numbers above 0 with commas between them"
        )
    return [int(word) for word in words]


def _booleans(flag: str) -> list[bool]:
    words = flags.FLAGS[flag].value
    if not words or set(words) - {"false", "true"}:
        raise UserError(f"--{flag}={','.join(words or [])}: give false, true, or false,true")
    return [word == "true" for word in words]


def main(argv: Sequence[str]) -> None:
    """Measures all combinations of the flags, and prints the rows."""
    del argv
    config = flags.FLAGS.config
    sizes = _whole_numbers("batch_sizes") if flags.FLAGS.batch_sizes else [config.batch_size]
    settings = itertools.product(
        sizes, _whole_numbers("micro_batches"), _booleans("remat"), flags.FLAGS.dtypes
    )
    rows = [Row(*setting) for setting in settings]  # pyright: ignore[reportArgumentType]
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
    flags.DEFINE_list("micro_batches", "1,2,4", "numbers of micro-batches, with commas between them")
    flags.DEFINE_list("remat", "false,true", "whether blocks are recomputed in the backward pass")
    flags.DEFINE_list("dtypes", "float32,bfloat16", "dtypes in which layers compute")
    flags.DEFINE_list(
        "batch_sizes", None, "images of an update, over all devices; by default the config's batch_size"
    )
    flags.DEFINE_integer("rounds", 5, "number of rounds over all combinations", lower_bound=1)
    flags.DEFINE_integer("steps", 5, "number of steps of a combination in a round", lower_bound=1)
    flags.DEFINE_bool("json", False, "print one JSON object instead of a table")
    cli.run(main)
