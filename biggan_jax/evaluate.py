"""Evaluates samples: the field's scores, and a measure of each of five blind spots of the Inception Score.

  python -m biggan_jax.evaluate --workdir=runs/demo
  python -m biggan_jax.evaluate --workdir=runs/demo --num_samples=10000 --truncations=0.3,0.5,1,0
  python -m biggan_jax.evaluate --workdir=runs/imagenet128 --network=inception --num_samples=50000
  python -m biggan_jax.evaluate --weights=exports/garments --truncation=0.5 --output=evaluated
  python -m biggan_jax.evaluate --samples=samples.npz --reference=fashion_mnist_10k
  python -m biggan_jax.evaluate --samples=samples.npz --reference=imagenet_fid.npz --network=inception

The samples come from one of three places. Of a run, the averaged generator of the newest checkpoint (or of
--step, or --best) generates them with standing statistics, equally many for each class. An export generates
them with the statistics that it holds. An .npz file holds them: arr_0, images u8[N, H, H, 3], and arr_1,
labels i32[N].

They are compared with training images and with held-out images: the split "validation" or "test", or the part
of the training split that --config.data.split='train[:90%]' left out.

The name of every score ends in the feature network that it is measured with. Only scores of the same feature
network can be compared:

  classifier        a small network that the first call trains on the real images (under a minute for
                    Fashion-MNIST on two CPU cores) and keeps; its scores do not replace published ones
  inception         the network of the published FIDs and ISs: downloaded once, or inception:PATH
  module:function   your own function from images u8[N, H, W, 3] to features [N, D], or to features and logits

The command prints the scores and writes evaluation.json, evaluation.png (samples), nearest.png (samples
beside the nearest training images), truncations.png and report.html into the workdir, or into --output.
report.html shows all results and the history of the run in one file.

Several processes share the work; give them their places as for biggan_jax.train.

Exit codes: 0 evaluated; 2 a user error; 75 another process was lost; 130 after Ctrl-C.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, UserError
from biggan_jax.runtime.memory import enough_memory

if TYPE_CHECKING:
    from rich.console import Console

    from biggan_jax.evaluation.evaluator import EvaluationResult
    from biggan_jax.evaluation.request import EvaluationRequest

WORKDIR = command_flags.path(
    "workdir", "Directory of the run whose samples to evaluate, or gs://BUCKET/DIRECTORY"
)
WEIGHTS = command_flags.path(
    "weights",
    "Folder that biggan_jax.export or biggan_jax.import_weights has written, in place of a run",
)
SAMPLES = command_flags.path("samples", "File .npz of images (arr_0) and labels (arr_1), in place of a run")
STEP = command_flags.integer(
    "step", None, "Step of the checkpoint of the run (default: the newest)", ranges.STEP
)
BEST = flags.DEFINE_bool("best", False, "Take the checkpoint that is best by config.checkpoints.metric")
REFERENCE = command_flags.text(
    "reference",
    None,
    "Real images to compare with: fashion_mnist_10k, tfds:NAME, folder:PATH, prepared:PATH, or an .npz of "
    "FID statistics (mu, sigma), which suffices for FID and IS only (default: the data of the run)",
)
NETWORK = command_flags.text(
    "network",
    "classifier",
    "Feature network: classifier, inception, inception:PATH or module:function",
)
NUM_SAMPLES = command_flags.integer(
    "num_samples", 2_000, "Number of samples that a run or export generates, over all classes", ranges.SAMPLES
)
TRUNCATION = command_flags.number(
    "truncation",
    None,
    "Threshold beyond which latents are resampled, 0 = untruncated; for published weights, the factor of "
    "the latents, 1 = untruncated (default: untruncated)",
    ranges.TRUNCATION,
)
TRUNCATIONS = command_flags.numbers(
    "truncations",
    (),
    "Truncations, such as 0.3,0.5,1,0, at which to measure FID and IS for a curve",
    ranges.TRUNCATION,
    "0.3,0.5,1,0",
)
SEED = command_flags.integer("seed", 0, "Seed of the latents", ranges.SEED)
CAS = flags.DEFINE_bool(
    "cas",
    False,
    "Measure the classification accuracy score: train a classifier on samples alone and test it on real "
    "images, which takes as long as training the feature network 'classifier'",
)
TRAIN_SPLIT = command_flags.text(
    "train_split",
    None,
    "Split of the reference with the images that the generator was trained on (default: the split of the "
    "run, or train)",
)
TEST_SPLIT = command_flags.text(
    "test_split",
    None,
    "Split of the reference with held-out images (default: validation or test, or the rest of a part)",
)
REFERENCE_IMAGES = command_flags.integer(
    "reference_images",
    50_000,
    "Largest number of images taken from --train_split, and from --test_split, at random; 0 = all",
    ranges.from_0_up_to(1_000_000_000),
)
OUTPUT = command_flags.path(
    "output", "Directory to write to (default: the workdir, or the name of the samples without .npz)"
)
SAVE_SAMPLES = command_flags.path("save_samples", "File .npz to write the samples to")
SAVE_STATISTICS = command_flags.path(
    "save_statistics", "File .npz to write the FID statistics (mu, sigma) of the real images to"
)
ALLOW_CHANGES = flags.DEFINE_bool(
    "config.data.allow_changes", False, "Compare with other images than the generator has learnt from"
)
PLACE = cli.define_processes()
LOCK = ".evaluate.lock"  # not the one of training: a live run may be evaluated


def main(argv: Sequence[str]) -> int:
    """Evaluates the samples and writes the report; returns the exit code."""
    del argv
    if [WORKDIR.value, WEIGHTS.value, SAMPLES.value].count(None) != 2:
        raise UserError("give one of --workdir=DIR (a run), --weights=EXPORT and --samples=FILE.npz")
    for name, given in ((f"step={STEP.value}", STEP.value is not None), ("best", BEST.value)):
        if given and WORKDIR.value is None:
            raise UserError(f"--{name}: only a run (--workdir) has checkpoints; leave it out")
    if BEST.value and STEP.value is not None:
        raise UserError(f"--best and --step={STEP.value}: give one of them")
    from biggan_jax.runtime import processes  # here: --help and a misspelt flag need not wait for JAX

    processes.join(*PLACE())
    try:
        with processes.fail_fast(), enough_memory(lambda: "lower --num_samples or --reference_images"):
            _evaluate()
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)  # an ordinary exit may wait for other processes
    return 0


def _evaluate() -> None:
    import jax
    from rich.console import Console

    from biggan_jax.evaluation.evaluator import evaluate
    from biggan_jax.evaluation.request import EvaluationRequest
    from biggan_jax.runtime.files import resolve_directory
    from biggan_jax.runtime.ownership import owning

    workdir = resolve_directory(WORKDIR.value) if WORKDIR.value else None
    weights, samples = _path(WEIGHTS.value), _path(SAMPLES.value)
    folder = OUTPUT.value or workdir or (samples and samples.with_suffix(""))
    if folder is None:
        raise UserError(
            "--output=DIR is missing: give the directory to write the evaluation of the export to"
        )
    console = Console(highlight=False, markup=False, quiet=jax.process_index() > 0)
    request = EvaluationRequest(
        workdir=workdir,
        weights=weights,
        samples=samples,
        step="best" if BEST.value else STEP.value,
        reference=REFERENCE.value,
        network=NETWORK.value,
        num_samples=NUM_SAMPLES.value,
        truncation=TRUNCATION.value,
        truncations=TRUNCATIONS.value,
        seed=SEED.value,
        train_split=TRAIN_SPLIT.value,
        test_split=TEST_SPLIT.value,
        reference_images=REFERENCE_IMAGES.value,
        cas=CAS.value,
        folder=resolve_directory(folder, "--output=" if OUTPUT.value else "--workdir="),
        save_samples=_path(SAVE_SAMPLES.value),
        save_statistics=_path(SAVE_STATISTICS.value),
        allow_changes=ALLOW_CHANGES.value,
    )
    with owning(request.folder, LOCK) if jax.process_index() == 0 else contextlib.nullcontext():
        result = evaluate(request, console)
        if result is not None:
            _write(result, request, console)


def _write(result: "EvaluationResult", request: "EvaluationRequest", console: "Console") -> None:
    from biggan_jax.evaluation.report.html_report import render_html
    from biggan_jax.evaluation.report.terminal import render_report
    from biggan_jax.runtime.files import OUTPUT as OUTPUT_FOLDER
    from biggan_jax.runtime.files import write_file

    report, pictures = result
    files = {"evaluation.json": json.dumps(report.to_json(), indent=2, allow_nan=False).encode()} | pictures
    for name, content in files.items():
        write_file(request.folder / name, content, OUTPUT_FOLDER)
    content = render_html(report, pictures, request.workdir).encode(errors="replace")  # names may be no text
    write_file(request.folder / "report.html", content, OUTPUT_FOLDER)
    console.print(render_report(report))
    console.print(f"written to {request.folder}: report.html, {', '.join(files)}", soft_wrap=True)


def _path(name: str | None) -> Path | None:
    return Path(name).absolute() if name else None


if __name__ == "__main__":
    cli.run(main)
