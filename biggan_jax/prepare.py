r"""Writes a data set once at the resolution of training, so that every run reads it fast.

  python -m biggan_jax.prepare --source=tfds:imagenet2012 --resolution=128 --output=/data/imagenet128
  python -m biggan_jax.prepare --source=folder:pictures --resolution=64 --output=pictures64
  python -m biggan_jax.prepare --source=folder:pictures --resolution=64 --output=gs://bucket/data/pictures64

Then train with --config.data.source=prepared:/data/imagenet128. The command writes every split that has
labels. A folder, with one sub-folder for each class, has one split, "train". Each picture is cropped to its
centred square, resized by area as Pillow's BOX filter does, and stored without loss: 49 kB at 128 px, 63 GB
for ImageNet.

If the command is stopped, the same command continues where it was. Pictures that are unusable are left out
and listed, also in refused.txt. The output is a set of TensorFlow Datasets: to read it elsewhere, call
tfds.builder_from_directory. A bucket needs the extra `gcs`. A run that trains from a bucket, with
--config.data.source=prepared:gs://…, first copies the set to $BIGGAN_CACHE (~/.cache/biggan_jax).

--verify compares each file of a finished set with the SHA-256 that was stored when it was written. Delete the
files that it lists as damaged; the command that wrote the set then writes them anew:

  python -m biggan_jax.prepare --verify --output=/data/imagenet128

On a cluster, an Apache Beam pipeline writes the same files. Its workers need this package, and a shared disk
or bucket that holds the source and the output:

  python -m biggan_jax.prepare --source=tfds:imagenet2012 --resolution=128 \
      --output=gs://bucket/data/imagenet128 \
      --beam_pipeline_options=runner=DataflowRunner,project=…,region=…,temp_location=gs://bucket/temporary

Exit codes: 0 written or intact; 2 a user error or damaged files; 130 after Ctrl-C.
"""

import os
from collections.abc import Sequence

from absl import flags

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, UserError

SOURCE = command_flags.text("source", None, "Data set to read, tfds:NAME or folder:PATH")
RESOLUTION = command_flags.integer(
    "resolution", None, "Side of the written images in pixels", ranges.up_to(4096)
)
OUTPUT = command_flags.path("output", "New folder, or gs://BUCKET/DIRECTORY, to write to", required=True)
MAX_REFUSED = command_flags.number(
    "max_refused",
    0.01,
    "Share of the pictures that may be unusable; beyond it the command stops",
    ranges.SHARE,
)
VERIFY = flags.DEFINE_bool(
    "verify", False, "Read the finished set at --output and compare each file with its SHA-256; write nothing"
)
BEAM = command_flags.text(
    "beam_pipeline_options",
    None,
    "Options of an Apache Beam pipeline that writes the set, without dashes and separated by commas",
)


def main(argv: Sequence[str]) -> int:
    """Prepares or verifies a set and prints a summary; returns the exit code."""
    del argv
    if VERIFY.value:
        return verify(cli.given(OUTPUT))
    for flag in (SOURCE, RESOLUTION):
        if flag.value is None:
            raise UserError(f"--{flag.name} is missing: only --verify does without it (--help has examples)")
    return prepare(cli.given(SOURCE), cli.given(RESOLUTION), cli.given(OUTPUT))


def prepare(source: str, resolution: int, output: str) -> int:
    """Writes the set; returns the exit code."""
    from biggan_jax.data.catalogue import open_splits  # imported late, so that --help is quick
    from biggan_jax.data.cluster import write_prepared_by_beam
    from biggan_jax.data.records import listing
    from biggan_jax.data.writing import write_prepared

    try:
        if BEAM.value is None:
            sources = open_splits(source, resolution, MAX_REFUSED.value)
            summary = write_prepared(sources, output, MAX_REFUSED.value)
        else:
            summary = write_prepared_by_beam(source, resolution, output, MAX_REFUSED.value, BEAM.value)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command continues where it was", flush=True)
        os._exit(EXIT_INTERRUPTED)  # an ordinary exit would wait for the threads that decode
    images = ", ".join(f"{split} {count:,}" for split, count in summary.images.items())
    print(f"{'was already finished' if summary.was_finished else 'finished'}: {output}")
    print(f"images   {images}")
    print(f"classes  {summary.classes:,}")
    print(f"bytes    {summary.bytes:,}")
    print(f"refused  {len(summary.refused):,}{listing(sorted(summary.refused.items()))}")
    if summary.enlarged:
        print(f"smaller than {resolution} px, and enlarged: {summary.enlarged:,}")
    print(f"to train: --config.data.source=prepared:{output} --config.model.num_classes={summary.classes}")
    return 0


def verify(output: str) -> int:
    """Compares the files of a finished set with their digests; returns the exit code."""
    from biggan_jax.data.verification import verify_prepared

    found = verify_prepared(output)
    print(f"intact: {output}, {found.shards:,} shards of {found.bytes:,} bytes")
    if found.unverified:
        print(f"not verified, because an older version stored no digest: {', '.join(found.unverified)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
