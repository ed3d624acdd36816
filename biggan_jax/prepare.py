"""Writes a data set once at the size that training needs, for fast reading by every run.

  python -m biggan_jax.prepare --source=tfds:imagenet2012 --resolution=128 --output=/data/imagenet128
  python -m biggan_jax.prepare --source=folder:pictures --resolution=64 --output=pictures64
  python -m biggan_jax.prepare --source=folder:pictures --resolution=64 --output=gs://bucket/pictures64

Then train with --config.data.source=prepared:/data/imagenet128. Every split that has labels is written; of a
folder, which has one sub-folder a class, the split "train". Each picture is cropped to its centred square,
resized by area as Pillow's BOX filter does, and stored as it is, without loss: 49 kB at 128 px, 63 GB for
ImageNet.

Stopped or cut off, the same command goes on where it was; finished, it says so. Pictures that can't be used
are left out and listed, in refused.txt too. What is written is a set of TensorFlow Datasets: elsewhere, read
it with tfds.builder_from_directory. A bucket takes the extra gcs; whoever trains from it, with
--config.data.source=prepared:gs://…, first makes a copy in $BIGGAN_CACHE (~/.cache/biggan_jax).

On a cluster, an Apache Beam pipeline writes the same files; its workers need this package, the source and the
output, so these are on a shared disk or in a bucket:

  python -m biggan_jax.prepare --source=tfds:imagenet2012 --resolution=128 --output=gs://bucket/imagenet128 \
      --beam_pipeline_options=runner=DataflowRunner,project=…,region=…,temp_location=gs://bucket/temporary
"""

import os
from collections.abc import Sequence

from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_INTERRUPTED

SOURCE = flags.DEFINE_string("source", None, "tfds:NAME or folder:PATH", required=True)
RESOLUTION = flags.DEFINE_integer("resolution", None, "pixels a side", required=True, lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "where to; a new folder, or gs://…", required=True)
MAX_REFUSED = flags.DEFINE_float(
    "max_refused",
    0.01,
    "share of the pictures that may be unusable before it stops",
    lower_bound=0.0,
    upper_bound=1.0,
)
BEAM = flags.DEFINE_string(
    "beam_pipeline_options", None, "write by Apache Beam: its options, without dashes, between commas"
)


def main(argv: Sequence[str]) -> int:
    """Prepares the set and says what came of it; returns the exit code."""
    del argv
    from biggan_jax.data.catalogue import open_splits  # imported late, so that --help is quick
    from biggan_jax.data.cluster import write_prepared_by_beam
    from biggan_jax.data.records import listing
    from biggan_jax.data.writing import write_prepared

    try:
        if BEAM.value is None:
            sources = open_splits(SOURCE.value, RESOLUTION.value, MAX_REFUSED.value)
            summary = write_prepared(sources, OUTPUT.value, MAX_REFUSED.value)
        else:
            summary = write_prepared_by_beam(
                SOURCE.value, RESOLUTION.value, OUTPUT.value, MAX_REFUSED.value, BEAM.value
            )
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on where it was", flush=True)
        os._exit(EXIT_INTERRUPTED)  # an ordinary exit would wait for the threads that decode
    images = ", ".join(f"{split} {count:,}" for split, count in summary.images.items())
    print(f"{'was already finished' if summary.was_finished else 'finished'}: {OUTPUT.value}")
    print(f"images   {images}")
    print(f"classes  {summary.classes:,}")
    print(f"bytes    {summary.bytes:,}")
    print(f"refused  {len(summary.refused):,}{listing(sorted(summary.refused.items()))}")
    if summary.enlarged:
        print(f"smaller than {RESOLUTION.value} px, and enlarged: {summary.enlarged:,}")
    print(
        f"to train: --config.data.source=prepared:{OUTPUT.value} --config.model.num_classes={summary.classes}"
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
