"""The input pipeline: images a second for each core, beside the loader that everybody writes.

Examples:
  python -m benchmarks.input
  python -m benchmarks.input --images=photos --resolution=64 --rounds=5 --json
  python -m benchmarks.input --long_edge=4000 --count=20
  python -m benchmarks.input --batches=10000

A row for every way, all on the same files in one run, in rounds, so that what else the machine does is spread
over all rows; a number is the median of its rounds. It is images per CPU second, of all threads together,
which is what one core does; × is the ratio to the first row.

All rows are batches of shuffled pictures, half of them mirrored. `Pillow loader` opens a file, converts to
RGB, crops the centre, resizes (bilinear, as torchvision's Resize), makes a float array of it and stacks a
batch: what a worker of a PyTorch DataLoader does, without the way to the trainer. The others are as training
gets them: from the folder of JPEGs, from the set that biggan_jax.prepare writes of it, and from memory.

The second table is what one host of a pod must deliver at batch 2048 with two D batches a step, and how many
cores like those of this machine do it. v3-128 is taken to make --steps_per_second; the others as much more as
their chips' published peaks are higher (v3 123, v4 275, v5e 197 TFLOP/s in bfloat16).

--batches=N reads so many of `prepared` instead and shows the process's memory meanwhile.
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

BATCH_SIZE = 128
GLOBAL_BATCH, D_STEPS = 2048, 2
# Hosts, and the peak of all chips in PFLOP/s.
PODS = {"v3-128": (16, 64 * 0.123), "v4-128": (16, 64 * 0.275), "v5e-64": (16, 64 * 0.197)}


@dataclasses.dataclass(frozen=True)
class Row:
    """A way, and the images that it gives per CPU second."""

    way: str
    images_per_core_second: float


def measure(folder: Path, resolution: int, rounds: int, seconds: float) -> list[Row]:
    """Times every way on the pictures of a folder."""
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
    return [Row(way, statistics.median(found)) for way, found in rates.items()]


def rate(stream: Generator[int, None, None], seconds: float) -> float:
    """Images per CPU second; the stream has ended then, and reads ahead at nobody else's cost."""
    for _ in range(4):  # more than are read ahead
        next(stream)
    start, used, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds or not images:
        images += next(stream)
    found = images / (time.process_time() - used)
    stream.close()
    return found


def pillow_loader(folder: Path, resolution: int) -> Generator[int, None, None]:
    """The ordinary way; counts the images of each batch."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng(0)
    while True:
        rows = zip(rng.choice(len(paths), BATCH_SIZE), rng.random(BATCH_SIZE) < 0.5, strict=True)
        batch = np.stack([load(paths[number], resolution, mirror) for number, mirror in rows])
        yield len(batch)


def load(path: Path, resolution: int, mirror: bool) -> np.ndarray:
    """f32[3, resolution, resolution] in [-1, 1]."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = ((size - side) // 2 for size in image.size)
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((resolution, resolution), Image.Resampling.BILINEAR)
    if mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1


def pipeline(source: Source) -> Generator[int, None, None]:
    """Batches as training gets them; counts the images of each."""
    order = {"batch_size": BATCH_SIZE, "d_steps": 1, "seed": 0, "random_flip": True}
    for batch in batches(source, **order):
        yield batch["labels"].size


def make_photographs(folder: Path, count: int, long_edge: int = 500) -> None:
    """JPEGs of 4:3, a quarter of them upright; of 500×375 pixels they weigh what ImageNet's do, 110 kB."""
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
    """The process's memory in MiB after batches, at ten and more points on the way."""
    found = {}
    for number, _ in enumerate(itertools.islice(pipeline(source), count), start=1):
        if number % max(1, count // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found[number] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found


def rates_table(rows: Sequence[Row], title: str) -> Table:
    """A line for each way."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for name, justify in (("way", "left"), ("images/s a core", "right"), ("×", "right")):
        table.add_column(name, justify=justify)
    for row in rows:
        ratio = row.images_per_core_second / rows[0].images_per_core_second
        table.add_row(row.way, f"{row.images_per_core_second:,.0f}", f"{ratio:.2f}")
    return table


def demand(steps_per_second: float) -> dict[str, float]:
    """Images a second that one host of each pod must deliver."""
    base = PODS["v3-128"][1]
    return {
        pod: GLOBAL_BATCH * D_STEPS * steps_per_second * peak / base / hosts
        for pod, (hosts, peak) in PODS.items()
    }


def demand_table(rows: Sequence[Row], steps_per_second: float) -> Table:
    """A line for each pod: what a host must deliver, and the cores it takes each way."""
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
    """Measures, and prints what was found."""
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
            found = memory_over(
                prepared.open_records(str(temporary / "out"), "train", flags.FLAGS.resolution),
                flags.FLAGS.batches,
            )
            for number, mebibytes in found.items():
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
    # Here, so that the tests can import all benchmarks: their flags share names.
    flags.DEFINE_string("images", None, "a folder of JPEGs (default: made up, as large as ImageNet's)")
    flags.DEFINE_integer("count", 400, "how many are made up", lower_bound=1)
    flags.DEFINE_integer("long_edge", 500, "pixels of their longer edge", lower_bound=16)
    flags.DEFINE_integer("resolution", 128, "pixels a side", lower_bound=8)
    flags.DEFINE_integer("rounds", 3, "how often each way is timed", lower_bound=1)
    flags.DEFINE_float("seconds", 3.0, "that each way reads for in a round", lower_bound=0.0)
    flags.DEFINE_float("steps_per_second", 1.5, "of v3-128: 150,000 steps in 28 hours", lower_bound=0.0)
    flags.DEFINE_integer("batches", 0, "watch the memory over so many batches", lower_bound=0)
    flags.DEFINE_bool("json", False, "print JSON in place of the tables")
    cli.run(main)
