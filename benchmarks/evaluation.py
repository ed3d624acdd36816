"""Measures the wall time of FID from features, for this package and for other methods.

Examples:
  python -m benchmarks.evaluation
  python -m benchmarks.evaluation --features=64 --samples=10000 --rounds=10 --json

Each method has a row. All methods run in each round, so that other load of the machine affects all rows; a
time is the median over the rounds. Features come from noise through random layers, equally many for real
images and samples. Each row shows the FID and its difference from the first row.

`here` computes mean and covariance in batches and the root by a symmetric eigenvalue problem; `here, next` is
a second set of samples against the same reference, as in training. `scipy sqrtm` is the method of pytorch-fid
and TTUR: NumPy's mean and covariance of all features, and scipy.linalg.sqrtm of the product of covariances.
`eigenvalues` is the method of torch-fidelity and torchmetrics: the same, with the eigenvalues of the product.
× is the ratio to the first row.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg
from absl import flags
from rich import box
from rich.console import Console
from rich.table import Table

from biggan_jax.evaluation.scores import frechet
from biggan_jax.evaluation.scores.moments import Moments
from biggan_jax.runtime import cli


@dataclasses.dataclass(frozen=True)
class Row:
    """The times of a method.

    Attributes:
      way: Name of the method.
      statistics_s: Median seconds for mean and covariance.
      distance_s: Median seconds from there to FID.
      fid: FID.
    """

    way: str
    statistics_s: float
    distance_s: float
    fid: float

    @property
    def seconds(self) -> float:
        """Total median seconds."""
        return self.statistics_s + self.distance_s


Pair = tuple[frechet.FeatureStatistics, frechet.FeatureStatistics]
Distance = Callable[[frechet.FeatureStatistics, frechet.FeatureStatistics], float]


def measure(features: int, samples: int, batch_size: int, rounds: int) -> list[Row]:
    """Measures every method on the same features.

    Args:
      features: Number of features.
      samples: Images in each set.
      batch_size: Images per batch.
      rounds: Number of rounds.
    """
    sets = make_features(features, samples)
    kept = streamed(sets[0], batch_size)

    def here() -> Pair:
        return streamed(sets[0], batch_size), streamed(sets[1], batch_size)

    def following() -> Pair:
        return kept, streamed(sets[1], batch_size)

    def at_once() -> Pair:
        first, second = (frechet.FeatureStatistics(x.mean(axis=0), np.cov(x, rowvar=False)) for x in sets)
        return first, second

    ways: dict[
        str,
        tuple[Callable[[], Pair], Callable[[frechet.FeatureStatistics, frechet.FeatureStatistics], float]],
    ] = {
        "here": (here, frechet.distance),
        "here, next": (following, frechet.distance),
        "scipy sqrtm": (at_once, by_sqrtm),
        "eigenvalues": (at_once, by_eigenvalues),
    }
    frechet.distance(*following())  # computes the part of the reference, which later calls reuse
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    values = {}
    for _ in range(rounds):
        for way, (collect, distance) in ways.items():
            start = time.perf_counter()
            pair = collect()
            between = time.perf_counter()
            values[way] = distance(*pair)
            times[way].append((between - start, time.perf_counter() - between))
    return [
        Row(
            way,
            statistics.median(first for first, _ in times[way]),
            statistics.median(second for _, second in times[way]),
            values[way],
        )
        for way in ways
    ]


def make_features(features: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns two sets f32[samples, features] that resemble a network's: correlated, none below 0."""
    random = np.random.default_rng(0)
    hidden = min(features, 256)
    mixing = random.standard_normal((hidden, features), np.float32) / np.sqrt(hidden)
    sets = []
    for scale in (1.0, 1.1):
        signal = scale * random.standard_normal((samples, hidden), np.float32) @ mixing
        sets.append(np.maximum(signal + 0.3 * random.standard_normal(signal.shape, np.float32), 0))
    return sets[0], sets[1]


def streamed(rows: np.ndarray, batch_size: int) -> frechet.FeatureStatistics:
    """Computes statistics by batches."""
    moments = Moments()
    for start in range(0, len(rows), batch_size):
        moments.update(rows[start : start + batch_size])
    return moments.statistics()


def by_sqrtm(first: frechet.FeatureStatistics, second: frechet.FeatureStatistics) -> float:
    """Computes FID with SciPy's matrix root."""
    root = np.asarray(scipy.linalg.sqrtm(first.covariance @ second.covariance))
    return _fid(first, second, np.trace(np.real(root)))


def by_eigenvalues(first: frechet.FeatureStatistics, second: frechet.FeatureStatistics) -> float:
    """Computes FID with the eigenvalues of the product, which is not symmetric."""
    eigenvalues = np.linalg.eigvals(first.covariance @ second.covariance)
    return _fid(first, second, np.real(np.sqrt(eigenvalues.astype(complex))).sum())


def _fid(first: frechet.FeatureStatistics, second: frechet.FeatureStatistics, root: float) -> float:
    difference = first.mean - second.mean
    return float(difference @ difference + np.trace(first.covariance + second.covariance) - 2 * root)


def table(rows: Sequence[Row], title: str) -> Table:
    """Returns the rows as a table."""
    page = Table(title=title, box=box.SIMPLE, title_justify="left")
    for column in ("way", "statistics", "distance", "total", "×", "FID", "off by"):
        page.add_column(column, justify="left" if column == "way" else "right", no_wrap=True)
    for row in rows:
        page.add_row(
            row.way,
            f"{row.statistics_s:.3f}",
            f"{row.distance_s:.3f}",
            f"{row.seconds:.3f}",
            f"{row.seconds / rows[0].seconds:.2f}",
            f"{row.fid:.6f}",
            f"{abs(row.fid - rows[0].fid):.1e}",
        )
    return page


def main(argv: Sequence[str]) -> int:
    """Measures and prints; returns the exit code."""
    del argv
    rows = measure(flags.FLAGS.features, flags.FLAGS.samples, flags.FLAGS.batch_size, flags.FLAGS.rounds)
    if flags.FLAGS.json:
        print(json.dumps([dataclasses.asdict(row) | {"seconds": row.seconds} for row in rows], indent=2))
    else:
        title = f"FID of {flags.FLAGS.samples:,} samples with {flags.FLAGS.features:,} features: seconds"
        Console(highlight=False).print(table(rows, title))
    return 0


if __name__ == "__main__":
    # Here, so that the tests can import all benchmarks: their flags share names.
    flags.DEFINE_integer("features", 2048, "numbers an image, as a network gives them", lower_bound=2)
    flags.DEFINE_integer("samples", 10_000, "images in each of the two sets", lower_bound=2)
    flags.DEFINE_integer("batch_size", 256, "images in a batch of features", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "how often each method is timed", lower_bound=1)
    flags.DEFINE_bool("json", False, "print JSON in place of the table")
    cli.run(main)
