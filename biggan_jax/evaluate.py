"""Judges samples: the field's scores, and a measure for each of five blind spots of the Inception Score.

  python -m biggan_jax.evaluate --workdir=runs/demo
  python -m biggan_jax.evaluate --workdir=runs/demo --num_samples=10000 --truncations=0.3,0.5,1,0
  python -m biggan_jax.evaluate --workdir=runs/imagenet128 --network=inception --num_samples=50000
  python -m biggan_jax.evaluate --weights=exports/garments --truncation=0.5 --output=judged
  python -m biggan_jax.evaluate --samples=samples.npz --reference=fashion_mnist
  python -m biggan_jax.evaluate --samples=samples.npz --reference=imagenet_fid.npz --network=inception

Samples are those of a run, drawn by the averaged generator of its newest checkpoint (or --step, or --best)
with standing statistics, as many of each class; or those of an export, with the statistics that it holds; or
those of an .npz with arr_0, images u8[N, H, H, 3], and arr_1, labels i32[N]. They are compared with images
that the run learns from, and with some that it does not: the split "validation" or "test", or what
--config.data.split='train[:90%]' left over.

Every score ends in the network that it is measured by, and compares only with scores of the same one:

  classifier        a small network that the first call trains on the real images (under a minute for
                    Fashion-MNIST on two CPU cores) and keeps; no substitute for the published scores
  inception         the network of the published FIDs and ISs: downloaded once, or inception:PATH
  module:function   one of your own: images u8[N, H, W, 3] to features [N, D], or features and logits

Prints the scores, writes them to evaluation.json, and draws evaluation.png (samples), nearest.png (samples
beside the training images nearest to them) and truncations.png, all in the workdir, or in --output. With them
comes report.html: all of it, and what the run has noted of itself, as one page that needs no other file.

Several processes, told of each other as for biggan_jax.train, share the work.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, UserError

WORKDIR = flags.DEFINE_string("workdir", None, "of a run, a directory or gs://BUCKET/DIRECTORY")
WEIGHTS = flags.DEFINE_string(
    "weights", None, "in place of a run: a folder that biggan_jax.export or .import_weights has written"
)
SAMPLES = flags.DEFINE_string(
    "samples", None, "in place of a run: an .npz of images (arr_0) and labels (arr_1)"
)
STEP = flags.DEFINE_integer("step", None, "of the checkpoint (default: the newest)", lower_bound=0)
BEST = flags.DEFINE_bool("best", False, "take the checkpoint that is best by config.checkpoints.metric")
REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "what to compare with: fashion_mnist, tfds:NAME, folder:PATH, prepared:PATH, or an .npz of FID "
    "statistics (mu, sigma), by which only FID and IS can be had (default: the run's own data)",
)
NETWORK = flags.DEFINE_string(
    "network",
    "classifier",
    "what looks at the images: inception, inception:PATH, classifier, module:function",
)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 2_000, "samples of a run, over all classes", lower_bound=1)
TRUNCATION = flags.DEFINE_float(
    "truncation",
    None,
    "draw latents beyond this threshold again, 0 = untruncated; of published weights, the factor of the "
    "latents, 1 = untruncated (default: untruncated)",
    lower_bound=0.0,
)
TRUNCATIONS = flags.DEFINE_list("truncations", [], "FID and IS at each of these, as a curve: 0.3,0.5,1,0")
SEED = flags.DEFINE_integer("seed", 0, "of the samples' latents", lower_bound=0)
CAS = flags.DEFINE_bool(
    "cas", False, "train a classifier on the samples alone, and test it on real images (as long again)"
)
TRAIN_SPLIT = flags.DEFINE_string(
    "train_split", None, "real images that the generator learns from (default: the run's own, or train)"
)
TEST_SPLIT = flags.DEFINE_string(
    "test_split", None, "real images that it does not (default: validation or test, or the rest of a part)"
)
REFERENCE_IMAGES = flags.DEFINE_integer(
    "reference_images", 50_000, "of each of the two, at most, drawn at random; 0 = all", lower_bound=0
)
OUTPUT = flags.DEFINE_string(
    "output", None, "directory for what is written (default: the workdir, or the samples' name without .npz)"
)
SAVE_SAMPLES = flags.DEFINE_string("save_samples", None, "write the samples to this .npz, too")
SAVE_STATISTICS = flags.DEFINE_string(
    "save_statistics", None, "write the real images' statistics (mu, sigma) to this .npz, too"
)
PLACE = cli.define_processes()


def main(argv: Sequence[str]) -> int:
    """Judges, and shows what was found; returns the exit code."""
    del argv
    if [WORKDIR.value, WEIGHTS.value, SAMPLES.value].count(None) != 2:
        raise UserError("give one of --workdir=DIR, of a run, --weights=EXPORT and --samples=FILE.npz")
    for name, given in ((f"step={STEP.value}", STEP.value is not None), ("best", BEST.value)):
        if given and WORKDIR.value is None:
            raise UserError(f"--{name}: only a run (--workdir) has checkpoints; leave it out")
    if BEST.value and STEP.value is not None:
        raise UserError(f"--best and --step={STEP.value}: give one of them")
    truncations = tuple(map(_truncation, TRUNCATIONS.value))
    from biggan_jax.runtime import processes  # here: --help and a misspelt flag need not wait for JAX

    processes.join(*PLACE())
    try:
        with processes.fail_fast():
            _evaluate(truncations)
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)  # an ordinary exit may wait for other processes
    return 0


def _evaluate(truncations: tuple[float, ...]) -> None:
    import jax
    from rich.console import Console

    from biggan_jax.evaluation.evaluator import EvaluationRequest, evaluate
    from biggan_jax.evaluation.report.html_report import render_html
    from biggan_jax.evaluation.report.terminal import render_report
    from biggan_jax.runtime.files import resolve_directory, write_file

    workdir = resolve_directory(WORKDIR.value) if WORKDIR.value else None
    weights, samples = _path(WEIGHTS.value), _path(SAMPLES.value)
    if weights and not OUTPUT.value:
        raise UserError("--output=DIR is missing: where to write what is found of the export")
    folder = OUTPUT.value or workdir or samples.with_suffix("")
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
        truncations=truncations,
        seed=SEED.value,
        train_split=TRAIN_SPLIT.value,
        test_split=TEST_SPLIT.value,
        reference_images=REFERENCE_IMAGES.value,
        cas=CAS.value,
        folder=resolve_directory(folder),
        save_samples=_path(SAVE_SAMPLES.value),
        save_statistics=_path(SAVE_STATISTICS.value),
    )
    result = evaluate(request, console)
    if result is None:
        return
    report, drawn = result
    files = {"evaluation.json": json.dumps(report, indent=2, allow_nan=False).encode()} | drawn
    for name, content in files.items():
        write_file(request.folder / name, content)
    content = render_html(report, drawn, workdir).encode(errors="replace")  # names may be no text
    write_file(request.folder / "report.html", content)
    console.print(render_report(report))
    console.print(f"written to {request.folder}: report.html, {', '.join(files)}", soft_wrap=True)


def _truncation(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UserError(f"--truncations={text}: give numbers, such as 0.3,0.5,1,0; 0 = untruncated")
    return value


def _path(name: str | None) -> Path | None:
    return Path(name).absolute() if name else None


if __name__ == "__main__":
    cli.run(main)
