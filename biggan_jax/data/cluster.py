"""Writes a prepared set on a cluster: shards are independent, and Apache Beam distributes them to workers.

Each worker opens the source itself. All workers therefore need the same pictures under the same name, on a
shared disk or as a set of TFDS in a bucket ($TFDS_DATA_DIR), and access to the output. After an interruption
the finished shards remain, and the same command continues.
"""

import concurrent.futures
import dataclasses
import functools
import os
from typing import TYPE_CHECKING

from etils import epath

from biggan_jax.data.catalogue import open_splits
from biggan_jax.data.records import RecordSource
from biggan_jax.data.shard_examples import intact_shards, shards_of, write_examples
from biggan_jax.data.source import DataError
from biggan_jax.data.writing import Summary, fingerprint, write_prepared
from biggan_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions  # pyright: ignore[reportMissingImports]


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker needs to know to write a shard.

    Attributes:
      source: Name of the source.
      resolution: Pixels a side.
      max_refused: Share of the pictures that may be unusable.
      fingerprint: Fingerprint that the sources must have on the worker.
      output: Folder of the set.
    """

    source: str
    resolution: int
    max_refused: float
    fingerprint: str
    output: str


def write_prepared_by_beam(
    name: str, resolution: int, output: str, max_refused: float, options: str
) -> Summary:
    """Writes a set as `write_prepared` does, with the workers of an Apache Beam pipeline.

    Args:
      name: Name of the source, tfds:NAME or folder:PATH.
      resolution: Pixels a side.
      output: Folder that all workers can write to, or gs://….
      max_refused: Share of the pictures that may be unusable; these are left out.
      options: Pipeline options of Beam without their dashes, separated by commas, such as
        "runner=DataflowRunner,project=…".

    Returns:
      The result.

    Raises:
      UserError: Apache Beam is not installed.
      DataError: As `write_prepared`, or the pipeline failed.
    """
    pipeline_options = _pipeline_options(options)
    sources = open_splits(name, resolution, max_refused)
    job = Job(name, resolution, max_refused, fingerprint(sources), output)

    def write_missing(place: epath.Path, sources: dict[str, RecordSource]) -> None:
        import apache_beam as beam  # pyright: ignore[reportMissingImports]

        missing = [
            (split, number)
            for split, source in sources.items()
            for number, info in enumerate(intact_shards(place, shards_of(place, split, source)))
            if not info
        ]
        try:
            with beam.Pipeline(options=pipeline_options) as pipeline:
                shards = pipeline | "shards" >> beam.Create(missing) | beam.Reshuffle()
                shards | "write" >> beam.Map(functools.partial(write_shard_of, job))
        except Exception as error:  # the runner decides on the type
            raise DataError(
                f"Apache Beam could not write {output}: {error}\nThe same command writes the rest"
            ) from error

    return write_prepared(sources, output, max_refused, write_missing)


def write_shard_of(job: Job, shard: tuple[str, int]) -> None:
    """Writes one shard on a worker.

    Args:
      job: What the worker needs to know.
      shard: Split and number of the shard.

    Raises:
      DataError: The pictures on the worker differ from those of the launching process, or as
        `write_examples`.
    """
    split, number = shard
    sources = _sources(job.source, job.resolution, job.max_refused)
    if fingerprint(sources) != job.fingerprint:
        raise DataError(
            f"{job.source} has other pictures on a worker: put them where all workers can read them"
        )
    shards = shards_of(epath.Path(job.output), split, sources[split])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in write_examples(sources[split], shards[number], pool, {}, job.max_refused):
            pass


_sources = functools.lru_cache(maxsize=1)(open_splits)


def _pipeline_options(options: str) -> "PipelineOptions":
    try:
        from apache_beam.options.pipeline_options import PipelineOptions  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UserError(
            f"--beam_pipeline_options needs Apache Beam, which is not installed ({error}): "
            "pip install apache-beam"
        ) from error
    return PipelineOptions([f"--{option}" for option in options.split(",") if option])
