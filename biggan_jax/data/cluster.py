"""Writing a prepared set on a cluster: no shard needs another one, and Apache Beam hands them out.

A worker opens the source itself. So all workers must see the same pictures under the same name, on a shared
disk or as a set of TFDS in a bucket ($TFDS_DATA_DIR), and must be able to write the output. What they wrote
stays when the pipeline is cut off; the same command goes on.
"""

import concurrent.futures
import dataclasses
import functools
import os
from typing import TYPE_CHECKING

from etils import epath

from biggan_jax.data.catalogue import open_splits
from biggan_jax.data.records import RecordSource
from biggan_jax.data.source import DataError
from biggan_jax.data.writing import (
    Summary,
    fingerprint,
    shards_of,
    write_one_shard,
    write_prepared,
    written_shards,
)
from biggan_jax.runtime.errors import UserError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker must know to write any shard.

    Attributes:
      source, resolution, max_refused: as `open_splits` takes them.
      fingerprint: of the sources that it must find.
      output: where to.
    """

    source: str
    resolution: int
    max_refused: float
    fingerprint: str
    output: str


def write_prepared_by_beam(
    name: str, resolution: int, output: str, max_refused: float, options: str
) -> Summary:
    """As `write_prepared`, but the workers of an Apache Beam pipeline write the shards.

    Args:
      name: of the source, tfds:NAME or folder:PATH.
      resolution: pixels a side.
      output: a folder that all workers see, or one in a bucket, gs://….
      max_refused: share of the pictures that may be unusable and are left out.
      options: Beam's pipeline options without their dashes, separated by commas, such as
        "runner=DataflowRunner,project=…".

    Raises:
      UserError: Apache Beam is not installed.
      DataError: as `write_prepared`, or the pipeline failed.
    """
    pipeline_options = _pipeline_options(options)
    sources = open_splits(name, resolution, max_refused)
    job = Job(name, resolution, max_refused, fingerprint(sources), output)

    def write_missing(place: epath.Path, sources: dict[str, RecordSource]) -> None:
        import apache_beam as beam

        missing = [
            (split, number)
            for split, source in sources.items()
            for number, known in enumerate(written_shards(place, shards_of(place, split, source)))
            if not known
        ]
        try:
            with beam.Pipeline(options=pipeline_options) as pipeline:
                shards = pipeline | "shards" >> beam.Create(missing) | beam.Reshuffle()
                shards | "write" >> beam.Map(functools.partial(write_shard_of, job))
        except Exception as error:  # of whatever kind the runner makes of what a worker met
            raise DataError(
                f"Apache Beam could not write {output}: {error}\nThe same command goes on with the rest"
            ) from error

    return write_prepared(sources, output, max_refused, write_missing)


def write_shard_of(job: Job, shard: tuple[str, int]) -> None:
    """Writes one shard, given by its split and number: the work of a worker.

    Raises:
      DataError: the worker sees other pictures than the process that began, or as `write_one_shard`.
    """
    split, number = shard
    sources = _sources(job.source, job.resolution, job.max_refused)
    if fingerprint(sources) != job.fingerprint:
        raise DataError(f"{job.source} has other pictures on a worker: put them where all workers see them")
    shards = shards_of(epath.Path(job.output), split, sources[split])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in write_one_shard(sources[split], shards[number], pool, {}, job.max_refused):
            pass


_sources = functools.lru_cache(maxsize=1)(open_splits)


def _pipeline_options(options: str) -> "PipelineOptions":
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        raise UserError(
            f"--beam_pipeline_options takes Apache Beam, which is not installed ({error}): "
            "pip install apache-beam"
        ) from error
    return PipelineOptions([f"--{option}" for option in options.split(",") if option])
