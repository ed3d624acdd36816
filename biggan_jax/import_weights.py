"""Makes an export of a published BigGAN's weights, of whichever package they are.

  python -m biggan_jax.import_weights --format=huggingface --output=exports/deep128 biggan-deep-128
  python -m biggan_jax.import_weights --format=biggan-pytorch --output=exports/mine G_ema.pth
  python -m biggan_jax.import_weights --format=biggan-pytorch --output=exports/mine G_ema.pth D.pth \\
      --truncations=0.5,1,0 --class_names=names.txt
  python -m biggan_jax.import_weights --format=tfhub --output=exports/biggan256 biggan-256

What is named last is, by format:

  huggingface      a folder of pytorch-pretrained-biggan: config.json and pytorch_model.bin
  biggan-pytorch   the state dict G_ema.pth or G.pth and, to train on from, D.pth; also as .safetensors
  tfhub            a published module's folder (a SavedModel), or a checkpoint under the same names

Nothing in a file is executed. The architecture is read from the shapes; every tensor that is missing, surplus
or of another shape is named. The export (what biggan_jax.load and the other commands take) is written whole
or not at all, and then loaded again and compared with what was read.

Folders of huggingface and modules of tfhub come with batch norm's statistics for truncations from 0 to 1.
Other files have those of one truncation, or none. --truncations gathers standing statistics, as the paper
does, by many forward passes, which takes its time on a CPU.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, UserError

FORMAT = flags.DEFINE_enum(
    "format", None, ["huggingface", "biggan-pytorch", "tfhub"], "what the files are of", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "folder of the export; must not exist yet", required=True)
CLASS_NAMES = flags.DEFINE_string("class_names", None, "file with a class's name on each line, in order")
TRUNCATION = flags.DEFINE_float(
    "truncation",
    None,
    "of biggan-pytorch: the threshold that its statistics were gathered at (default: 0, untruncated)",
    lower_bound=0.0,
)
EPSILON = flags.DEFINE_float(
    "epsilon", None, "of biggan-pytorch: batch norm's, which is its --BN_eps (default: 1e-5)"
)
TRUNCATIONS = flags.DEFINE_list(
    "truncations",
    [],
    "gather standing statistics at these (in place of the file's, where it has them): 0.5,1,0",
)
PASSES = flags.DEFINE_integer("passes", 100, "forward passes for --truncations", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "images of a pass", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "of the passes' latents and labels", lower_bound=0)


def main(argv: Sequence[str]) -> int:
    """Reads, gathers, writes and checks; returns the exit code."""
    from rich.console import Console  # here: --help and a misspelt flag need not wait

    from biggan_jax.exports.weights.importing import Gathering, import_weights

    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        import_weights(
            FORMAT.value,
            [Path(name) for name in argv[1:]],
            Path(OUTPUT.value),
            console,
            class_names=Path(CLASS_NAMES.value) if CLASS_NAMES.value else None,
            gathering=Gathering(
                tuple(dict.fromkeys(map(_number, TRUNCATIONS.value))),
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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"--truncations={text}: give numbers, such as 0.5,1,0") from error


if __name__ == "__main__":
    cli.run(main, arguments=True)
