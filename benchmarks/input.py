"""Measures the input pipeline in images a second for each core, beside a common Pillow loader.

Examples:
  python -m benchmarks.input
  python -m benchmarks.input --images=photos --resolution=64 --rounds=5 --json
  python -m benchmarks.input --long_edge=4000 --count=20
  python -m benchmarks.input --batches=10000

Each loader has a row. All rows read the same files in one run, in rounds, which spreads the machine's other
work over all rows; a number is the median over rounds. It is images per CPU second of all threads together,
which is the rate of one core; × is the ratio to the first row.

All rows are batches of shuffled pictures, half of them mirrored. `Pillow loader` opens a file, converts to
RGB, crops the centre, resizes (bilinear, as torchvision's Resize), makes a float array and stacks a batch, as
a worker of a PyTorch DataLoader does, without the transfer to the trainer. The other rows are the batches of
training: from a folder of JPEGs, from the set that biggan_jax.prepare writes, and from memory.

The second table shows the images that one host of a pod must deliver at batch 2048 with two D batches a step,
and the number of cores that do it at the measured rates. It assumes --steps_per_second for v3-128, and scales
the other pods by the published peaks of their chips (biggan_jax/runtime/chips.py).

--batches=N instead reads N batches of `prepared` and prints the memory of the process.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from biggan_jax.data import batches, open_source, prepared
from biggan_jax.data.catalogue import open_splits
from biggan_jax.data.source import Source
from biggan_jax.data.writing import write_prepared
from biggan_jax.runtime import cli
from biggan_jax.runtime.chips import CHIPS

BATCH_SIZE = 128
GLOBAL_BATCH, D_STEPS = 2048, 2
# Hosts and peak TFLOP/s of slices with 64 chips; a chip of v3 is two devices.
PODS = {
    "v3-128": (16, 128 * CHIPS["v3"].peak_tflops),
    "v4-128": (16, 64 * CHIPS["v4"].peak_tflops),
    "v5e-64": (16, 64 * CHIPS["v5e"].peak_tflops),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """The rate of one loader.

    Attributes:
      way: Name of the loader.
      images_per_core_second: Images per CPU second.
    """

    way: str
    images_per_core_second: float


def measure(folder: Path, resolution: int, rounds: int, seconds: float) -> list[Row]:
    """Measures all loaders on the pictures of a folder."""
    with contextlib.ExitStack() as stack:
        output = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "prepared"
        write_prepared(open_splits(f"folder:{folder}", resolution, 0.01), str(output), 0.01)
        on_disk = prepared.open_records(str(output), "train", resolution)
        jpegs, in_memory = open_source(f"folder:{folder}", resolution=resolution), on_disk.in_memory()
        ways: dict[str, Callable[[], Generator[int, None, None]]] = {
            "Pillow loader": lambda: pillow_loader(folder, resolution),
            "JPEG": lambda: pipeline(jpegs),
            "prepared": lambda: pipeline(on_disk),
            "in memory": lambda: pipeline(in_memory),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, begin in ways.items():
                rates[way].append(rate(begin(), seconds))
    return [Row(way, statistics.median(measured)) for way, measured in rates.items()]


def rate(stream: Generator[int, None, None], seconds: float) -> float:
    """Returns the images per CPU second of a stream, and closes it, so that it stops reading ahead."""
    for _ in range(4):  # more than are read ahead
        next(stream)
    start, used, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds or not images:
        images += next(stream)
    images_per_second = images / (time.process_time() - used)
    stream.close()
    return images_per_second


def pillow_loader(folder: Path, resolution: int) -> Generator[int, None, None]:
    """Yields the size of each batch that a common Pillow loader makes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng(0)
    while True:
        rows = zip(rng.choice(len(paths), BATCH_SIZE), rng.random(BATCH_SIZE) < 0.5, strict=True)
        batch = np.stack([load(paths[number], resolution, mirror) for number, mirror in rows])
        yield len(batch)


def load(path: Path, resolution: int, mirror: bool) -> np.ndarray:
    """Loads a picture as f32[3, resolution, resolution] in [-1, 1]."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = ((size - side) // 2 for size in image.size)
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((resolution, resolution), Image.Resampling.BILINEAR)
    if mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1


def pipeline(source: Source) -> Generator[int, None, None]:
    """Yields the size of each batch that training gets from a source."""
    order = {"batch_size": BATCH_SIZE, "d_steps": 1, "seed": 0, "random_flip": True}
    for batch in batches(source, **order):
        yield batch["labels"].size


def make_photographs(folder: Path, count: int, long_edge: int = 500) -> None:
    """Writes JPEGs of 4:3, a quarter of them upright; at 500×375 pixels they have ImageNet's 110 kB."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        height, width = (long_edge * 3 // 4, long_edge) if number % 4 else (long_edge, long_edge * 3 // 4)
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
        frequency[0, 0] = 1
        clouds = np.fft.irfft2(
            np.fft.rfft2(rng.normal(size=(4, height, width))) / frequency**1.2, s=(height, width)
        )
        pixels = np.moveaxis(clouds[:1] + 0.5 * clouds[1:], 0, -1)
        pixels = np.clip(120 + 50 * (pixels - pixels.mean()) / pixels.std(), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=92)


def memory_over(source: Source, count: int) -> dict[int, float]:
    """Returns the memory of the process in MiB at ten or more numbers of batches."""
    memory = {}
    for number, _ in enumerate(itertools.islice(pipeline(source), count), start=1):
        if number % max(1, count // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory[number] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return memory


def rates_table(rows: Sequence[Row], title: str) -> Table:
    """Returns a table with a line for each loader."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for name, justify in (("way", "left"), ("images/s a core", "right"), ("×", "right")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    for row in rows:
        ratio = row.images_per_core_second / rows[0].images_per_core_second
        table.add_row(row.way, f"{row.images_per_core_second:,.0f}", f"{ratio:.2f}")
    return table


def demand(steps_per_second: float) -> dict[str, float]:
    """Returns the images a second that one host of each pod must deliver."""
    base = PODS["v3-128"][1]
    return {
        pod: GLOBAL_BATCH * D_STEPS * steps_per_second * peak / base / hosts
        for pod, (hosts, peak) in PODS.items()
    }


def demand_table(rows: Sequence[Row], steps_per_second: float) -> Table:
    """Returns a table with a line for each pod: the demand on a host, and the cores for it by loader."""
    table = Table(
        title=f"a host's share of {D_STEPS} batches of {GLOBAL_BATCH} a step, and the cores for it",
        box=box.SIMPLE_HEAD,
    )
    names = ("pod", "hosts", "steps/s", "images/s", *(row.way for row in rows))
    for name in names:
        table.add_column(name, justify="left" if name == "pod" else "right")
    for pod, needed in demand(steps_per_second).items():
        hosts, peak = PODS[pod]
        steps = steps_per_second * peak / PODS["v3-128"][1]
        cores = (f"{needed / row.images_per_core_second:.2f}" for row in rows)
        table.add_row(pod, str(hosts), f"{steps:.2f}", f"{needed:,.0f}", *cores)
    return table


def main(argv: Sequence[str]) -> None:
    """Measures, and prints the results."""
    del argv
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = Path(flags.FLAGS.images) if flags.FLAGS.images else temporary / "photographs"
        if not flags.FLAGS.images:
            make_photographs(folder, flags.FLAGS.count, flags.FLAGS.long_edge)
        console = Console(highlight=False)
        if flags.FLAGS.batches:
            write_prepared(
                open_splits(f"folder:{folder}", flags.FLAGS.resolution, 0.01), str(temporary / "out"), 0.01
            )
            memory = memory_over(
                prepared.open_records(str(temporary / "out"), "train", flags.FLAGS.resolution),
                flags.FLAGS.batches,
            )
            for number, mebibytes in memory.items():
                print(f"{number:8,} batches  {mebibytes:8,.1f} MiB")
            return
        rows = measure(folder, flags.FLAGS.resolution, flags.FLAGS.rounds, flags.FLAGS.seconds)
        if flags.FLAGS.json:
            print(json.dumps([dataclasses.asdict(row) for row in rows]))
            return
        pictures = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in pictures) / len(pictures) / 1000
        console.print(
            rates_table(rows, f"{len(pictures)} JPEGs of {size:.0f} kB to {flags.FLAGS.resolution} px")
        )
        console.print(demand_table(rows, flags.FLAGS.steps_per_second))


if __name__ == "__main__":
    # Defined here so that tests can import all benchmarks, whose flags share names.
    flags.DEFINE_string(
        "images", None, "folder of JPEGs; by default random pictures with the size of ImageNet's"
    )
    flags.DEFINE_integer("count", 400, "number of random pictures", lower_bound=1)
    flags.DEFINE_integer("long_edge", 500, "pixels of the longer edge of random pictures", lower_bound=16)
    flags.DEFINE_integer("resolution", 128, "pixels a side", lower_bound=8)
    flags.DEFINE_integer("rounds", 3, "number of rounds over all loaders", lower_bound=1)
    flags.DEFINE_float("seconds", 3.0, "seconds for which each loader reads in a round", lower_bound=0.0)
    flags.DEFINE_float(
        "steps_per_second", 1.5, "steps a second of v3-128: 150,000 steps in 28 hours", lower_bound=0.0
    )
    flags.DEFINE_integer(
        "batches", 0, "number of batches over which to print the memory; 0 measures the rates", lower_bound=0
    )
    flags.DEFINE_bool("json", False, "print JSON in place of the tables")
    cli.run(main)
