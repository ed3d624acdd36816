"""Sampling speed of BigGAN-deep, compared with pytorch-pretrained-biggan on the same weights.

Examples:
  python -m benchmarks.sampling
  python -m benchmarks.sampling --resolution=256 --batch_sizes=1,8 --rounds=3 --json

Needs the extra `peers`. The weights are random, in the published shapes, written by pytorch-pretrained-biggan
and read by `exports.weights.huggingface`. Before the timing, both packages must generate the same images.
Each call goes from latents in NumPy to images in NumPy, in float32, as users call it: PyTorch eagerly in
inference mode, this package through `Sampler.images`. On a CPU both use as many threads as the process has
cores. Each package uses the first accelerator that it supports, if there is one.

The table has one row for each batch size and package. The packages take turns in rounds, so other work of
the machine is spread over all rows. × is the ratio of images per second to pytorch-pretrained-biggan, by the
medians of the rounds. A busy machine delays PyTorch more than XLA, so the second × compares the fastest
rounds, which are closer to an idle machine.
"""

import dataclasses
import itertools
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich import box
from rich.console import Console
from rich.table import Table

from biggan_jax.models.architecture import GENERATOR_CHANNELS
from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import UserError

HERE, PEER = "here", "pytorch"
TRUNCATION = 0.4  # a truncation with stored statistics
TOLERANCE = 1e-4  # between pixels in [-1, 1]
POWER_ITERATIONS = 3  # after these, σ is near the largest singular value, as in trained weights

Generate = Callable[[np.ndarray, np.ndarray], np.ndarray]  # latents, labels → images f32[N, H, W, 3]


@dataclasses.dataclass(frozen=True)
class Row:
    """Result of one package at one batch size.

    Attributes:
      batch_size: Images in a call.
      way: `HERE`, or `PEER` for pytorch-pretrained-biggan.
      device: Device that it ran on.
      seconds: Median time of a call.
      images_per_second: Images per second, by the median.
      ratio: Ratio of images per second to `PEER` at this batch size.
      fastest_seconds: Time of the fastest call.
      fastest_ratio: Ratio of images per second to `PEER`, by the fastest calls.
      difference: Largest difference to the images of `PEER`, for pixels in [-1, 1].
    """

    batch_size: int
    way: str
    device: str
    seconds: float
    images_per_second: float
    ratio: float
    fastest_seconds: float
    fastest_ratio: float
    difference: float


def measure(
    resolution: int, channels: int, batch_sizes: Sequence[int], rounds: int, report: Callable[[str], None]
) -> list[Row]:
    """Times both packages.

    Args:
      resolution: Side of the images in pixels.
      channels: Base width, the paper's ch.
      batch_sizes: Images in a call.
      rounds: Number of timed calls of each package at each batch size.
      report: Function that receives lines of progress.

    Raises:
      ValueError: If the packages generate different images.
    """
    import torch  # pyright: ignore[reportMissingImports]

    logging.getLogger("pytorch_pretrained_biggan").setLevel(logging.WARNING)  # It logs its whole config.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    report("writing the weights")
    with tempfile.TemporaryDirectory() as folder:
        write_random_weights(Path(folder), resolution, channels)
        peer, peer_device = peer_generator(Path(folder))
        ways = {PEER: peer, HERE: package_generator(Path(folder))}
    devices = {PEER: peer_device, HERE: jax.devices()[0].device_kind}
    random, rows = np.random.default_rng(0), []
    for size in batch_sizes:
        z = TRUNCATION * random.standard_normal((size, 128)).clip(-2, 2).astype(np.float32)
        labels = random.integers(0, 1000, size)
        report(f"batch size {size}: first images")
        images = {way: generate(z, labels) for way, generate in ways.items()}
        difference = float(np.abs(images[HERE] - images[PEER]).max())
        if not difference < TOLERANCE:
            raise ValueError(
                f"the packages generate different images: pixels in [-1, 1] differ by {difference:.3g}"
            )
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(1, rounds + 1):
            report(f"batch size {size}: round {number} of {rounds}")
            for way, generate in ways.items():
                start = time.perf_counter()
                generate(z, labels)
                seconds[way].append(time.perf_counter() - start)
        median, fastest = (
            {way: pick(taken) for way, taken in seconds.items()} for pick in (statistics.median, min)
        )
        rows += [
            Row(
                batch_size=size,
                way=way,
                device=devices[way],
                seconds=median[way],
                images_per_second=size / median[way],
                ratio=median[PEER] / median[way],
                fastest_seconds=fastest[way],
                fastest_ratio=fastest[PEER] / fastest[way],
                difference=0.0 if way == PEER else difference,
            )
            for way in ways
        ]
    return rows


def write_random_weights(folder: Path, resolution: int, channels: int) -> None:
    """Writes a folder of pytorch-pretrained-biggan with its published widths times `channels` / 128."""
    import torch  # pyright: ignore[reportMissingImports]
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig  # pyright: ignore[reportMissingImports]

    widths = itertools.pairwise(GENERATOR_CHANNELS[resolution])
    config = BigGANConfig(
        output_dim=resolution,
        channel_width=channels,
        layers=[[up, before, after if up else before] for before, after in widths for up in (False, True)],
        attention_layer_position=8,
    )
    torch.manual_seed(0)
    model = BigGAN(config).train()
    one = torch.eye(config.num_classes)[:1]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("generator.bn."):  # The package does not initialise them.
                parameter.normal_(float(name.endswith("weight")), 0.3)
            elif name.endswith("gamma"):
                parameter.fill_(0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_means"):
                buffer.normal_(0, 0.3)
            elif name.endswith("running_vars"):
                buffer.uniform_(0.5, 2.0)
        for _ in range(POWER_ITERATIONS):
            model(torch.randn(1, config.z_dim), one, 1.0)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(config.to_json_string())


def peer_generator(folder: Path) -> tuple[Generate, str]:
    """Returns the generator of pytorch-pretrained-biggan, and its device."""
    import torch  # pyright: ignore[reportMissingImports]
    from pytorch_pretrained_biggan import BigGAN  # pyright: ignore[reportMissingImports]

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = BigGAN.from_pretrained(str(folder)).eval().to(device)
    classes = torch.eye(model.config.num_classes)

    def generate(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            inputs = (torch.from_numpy(z).to(device), classes[labels].to(device))
            return model(*inputs, TRUNCATION).cpu().numpy().transpose(0, 2, 3, 1)

    return generate, torch.cuda.get_device_name() if device == "cuda" else device


def package_generator(folder: Path) -> Generate:
    """Returns the generator of this package, on the first device."""
    from biggan_jax.exports.weights.huggingface import read_huggingface
    from biggan_jax.sampling.sampler import Sampler

    sampler = Sampler(read_huggingface(folder), devices=jax.devices()[:1])
    return lambda z, labels: sampler.images(z, labels, TRUNCATION, "float32")


def table(rows: Sequence[Row], title: str) -> Table:
    """Returns the rows as a table."""
    result = Table(title=title, box=box.SIMPLE, title_justify="left")
    for column in ("batch", "package", "seconds", "images/s", "×", "fastest", "×", "differs by"):
        result.add_column(column, justify="left" if column == "package" else "right", no_wrap=True)
    for row in rows:
        result.add_row(
            str(row.batch_size),
            row.way,
            f"{row.seconds:.3f}",
            f"{row.images_per_second:.2f}",
            f"{row.ratio:.2f}",
            f"{row.fastest_seconds:.3f}",
            f"{row.fastest_ratio:.2f}",
            f"{row.difference:.1e}" if row.way != PEER else "",
        )
    return result


def main(argv: Sequence[str]) -> int:
    """Measures and prints; returns the exit code."""
    del argv
    given = flags.FLAGS
    if not given.batch_sizes or not all(word.isdecimal() and int(word) for word in given.batch_sizes):
        raise UserError(
            f"--batch_sizes={','.join(given.batch_sizes)}: give integers above 0, separated by commas"
        )
    try:
        import pytorch_pretrained_biggan  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("the benchmark needs pytorch-pretrained-biggan: pip install -e '.[peers]'") from error
    sizes = [int(word) for word in given.batch_sizes]
    resolution, channels = int(given.resolution), given.channels

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    rows = measure(resolution, channels, sizes, given.rounds, report)
    if given.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        cores = len(os.sched_getaffinity(0))
        places = ", ".join(f"{row.way} on {row.device}" for row in rows[:2])
        title = f"BigGAN-deep, {resolution} px, ch {channels}: {places}, {cores} CPU cores"
        Console(highlight=False).print(table(rows, title))
    return 0


if __name__ == "__main__":
    # Defined here, since tests import all benchmarks and their flags share names.
    flags.DEFINE_enum("resolution", "128", ["128", "256", "512"], "side of the images in pixels")
    flags.DEFINE_integer("channels", 128, "base width (the paper's ch)", lower_bound=8)
    flags.DEFINE_list("batch_sizes", "1,16", "images in a call, separated by commas")
    flags.DEFINE_integer("rounds", 5, "timed calls of each package", lower_bound=1)
    flags.DEFINE_bool("json", False, "print JSON instead of the table")
    cli.run(main)
