r"""Converts the weights of a published BigGAN to an export.

  python -m biggan_jax.import_weights --format=huggingface --output=exports/deep128 biggan-deep-128
  python -m biggan_jax.import_weights --format=biggan-pytorch --output=exports/mine G_ema.pth
  python -m biggan_jax.import_weights --format=biggan-pytorch --output=exports/mine G_ema.pth D.pth \
      --truncations=0.5,1,0 --class_names=names.txt
  python -m biggan_jax.import_weights --format=tfhub --output=exports/biggan256 biggan-256

The files to read come last. They depend on the format:

  huggingface      a folder of pytorch-pretrained-biggan: config.json and pytorch_model.bin
  biggan-pytorch   the state dict G_ema.pth or G.pth and, for fine-tuning, D.pth; also as .safetensors
  tfhub            the folder of a published module (a SavedModel), or a checkpoint with the same names

No code in a file is executed. The command reads the architecture from the shapes, and names every tensor that
is missing, surplus or of another shape. The export, which biggan_jax.load and the other commands take, is
written completely or not at all; then it is loaded again and compared with the source.

Folders of huggingface and modules of tfhub contain the batch norm statistics of truncations from 0 to 1.
Other files contain the statistics of one truncation, or none. --truncations gathers standing statistics by
many forward passes, as the paper does, which is slow on a CPU.

Exit codes: 0 imported; 2 a user error; 130 after Ctrl-C.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import EXIT_INTERRUPTED

FORMAT = flags.DEFINE_enum(
    "format", None, ["huggingface", "biggan-pytorch", "tfhub"], "Format of the files", required=True
)
OUTPUT = command_flags.path(
    "output", "Folder of the export, on this machine; it must not exist yet", required=True
)
CLASS_NAMES = command_flags.path(
    "class_names", "Text file with the name of one class on each line, in the order of the labels"
)
TRUNCATION = command_flags.number(
    "truncation",
    None,
    "For biggan-pytorch, the truncation at which its statistics were gathered (default: 0, untruncated)",
    ranges.TRUNCATION,
)
EPSILON = command_flags.number(
    "epsilon",
    None,
    "For biggan-pytorch, the epsilon of batch norm, its --BN_eps (default: 1e-5)",
    ranges.EPSILON,
)
TRUNCATIONS = command_flags.numbers(
    "truncations",
    (),
    "Truncations, such as 0.5,1,0, at which to gather standing statistics, which replace the statistics of "
    "the files",
    ranges.TRUNCATION,
    "0.5,1,0",
)
PASSES = command_flags.integer(
    "passes", 100, "Number of forward passes over which --truncations averages", ranges.PASSES
)
BATCH_SIZE = command_flags.integer(
    "batch_size", 64, "Number of images in one forward pass", ranges.IMAGES_AT_ONCE
)
SEED = command_flags.integer("seed", 0, "Seed of the latents and labels of the forward passes", ranges.SEED)


def main(argv: Sequence[str]) -> int:
    """Imports the weights; returns the exit code."""
    from rich.console import Console  # here: --help and a misspelt flag need not wait

    from biggan_jax.exports.weights.importing import Gathering, import_weights
    from biggan_jax.runtime.ownership import owning_output

    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        with owning_output(Path(OUTPUT.value)):
            import_weights(
                FORMAT.value,
                [Path(name) for name in argv[1:]],
                Path(OUTPUT.value),
                console,
                class_names=Path(CLASS_NAMES.value) if CLASS_NAMES.value else None,
                gathering=Gathering(
                    tuple(dict.fromkeys(TRUNCATIONS.value)),
                    PASSES.value,
                    BATCH_SIZE.value,
                    SEED.value,
                ),
                truncation=TRUNCATION.value,
                epsilon=EPSILON.value,
            )
    except KeyboardInterrupt:
        console.print("interrupted: there is no export")
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    cli.run(main, arguments=True)
