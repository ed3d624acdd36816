"""Samples from a generator: sheets, interpolations, animations, and large sets.

  python -m biggan_jax.sample --weights=exports/garments --output=sheet.png
  python -m biggan_jax.sample --workdir=runs/demo --classes=sandal,7 --truncation=0.5 --output=two.png
  python -m biggan_jax.sample --weights=EXPORT --classes=tench --truncations=0.2,0.5,1,0 --output=sweep.png
  python -m biggan_jax.sample --weights=EXPORT --classes=sandal,bag --interpolate=class --output=way.png
  python -m biggan_jax.sample --weights=EXPORT --classes=sandal,bag --interpolate=both --output=way.gif
  python -m biggan_jax.sample --weights=EXPORT --interpolate=z --rows=4 --output=moving.mp4
  python -m biggan_jax.sample --weights=EXPORT --num_samples=50000 --output=samples.npz
  python -m biggan_jax.sample --weights=EXPORT --latents=latents.npz --output=images.npz

The generator comes from an export, or from a run: the averaged weights of the newest checkpoint (or of
--step), for which standing statistics are gathered first, at the requested truncation. Give classes by number
or by name. ImageNet's classes have several names each, such as tench; put a name with a comma in double
quotes: --classes='"tench, Tinca tinca",7'.

The ending of --output decides what is written:

  .png         a sheet: one latent in each row, one class in each column. With --truncations, one truncation
               in each column. With --interpolate, one interpolation in each row
  .gif, .mp4   with --interpolate: all interpolations side by side, forth and back, so that the animation
               loops. MP4 needs pip install 'biggan-jax[video]'
  .npz         with --num_samples: arr_0, images u8[N, H, W, 3], and arr_1, labels i32[N], as ADM's evaluator
               and biggan_jax.evaluate read them, with equally many images of each class, or one more.
               With --latents: images f32[N, H, W, 3] in [-1, 1], of z f32[N, latent_dim] and labels i32[N] in
               another .npz. z is used as given; labels f32[N, classes] mix the classes

--interpolate=z leads from one latent to another in each of --classes, --interpolate=class from each class to
the next with one latent, and --interpolate=both changes latent and class together.

All devices share a set of --num_samples, as do several processes; give them their places as for
biggan_jax.train. Image i depends only on the seed and i, not on the number of devices. If the command is
interrupted, the same command continues where it was. Until it ends, the finished parts lie beside the file,
and take as much space as the file will.

Exit codes: 0 written; 2 a user error; 75 another process was lost; 130 after Ctrl-C.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from absl import flags

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, UserError
from biggan_jax.runtime.memory import enough_memory

if TYPE_CHECKING:
    from rich.console import Console

    from biggan_jax.sampling.exported_generator import ExportedGenerator
    from biggan_jax.sampling.pictures import Interpolation
    from biggan_jax.sampling.sampler import Sampler

WEIGHTS = command_flags.path(
    "weights", "Folder that biggan_jax.export or biggan_jax.import_weights has written"
)
WORKDIR = command_flags.path("workdir", "Directory of a run, or gs://BUCKET/DIRECTORY, in place of --weights")
STEP = command_flags.integer(
    "step", None, "Step of the checkpoint of the run (default: the newest)", ranges.STEP
)
OUTPUT = command_flags.path("output", "File to write: .png, .gif, .mp4 or .npz", required=True)
CLASSES = flags.DEFINE_list(
    "classes", None, "Names or numbers of classes (default: for pictures ten of all classes, for sets all)"
)
TRUNCATION = command_flags.number(
    "truncation",
    None,
    "Truncation of the latents, 0 = untruncated (default: untruncated, or the widest truncation with "
    "statistics)",
    ranges.TRUNCATION,
)
SEED = command_flags.integer("seed", 0, "Seed of the latents", ranges.SEED)
ROWS = command_flags.integer(
    "rows",
    None,
    "Number of rows of a picture, each with latents of its own (default: 8; with --truncations 4, with "
    "--interpolate 1)",
    ranges.up_to(1_000),
)
TRUNCATIONS = command_flags.numbers(
    "truncations",
    None,
    "Truncations, such as 0.2,0.5,1,0, one for each column, in place of classes",
    ranges.TRUNCATION,
    "0.2,0.5,1,0",
)
INTERPOLATE = flags.DEFINE_enum(
    "interpolate", None, ["z", "class", "both"], "Interpolate between latents, between classes, or both"
)
STEPS = command_flags.integer(
    "steps",
    None,
    "Number of images from one end of an interpolation to the other (default: 8; for animations 32)",
    ranges.Number(minimum=2, maximum=10_000),
)
FPS = command_flags.integer("fps", 12, "Frames of an animation in a second", ranges.up_to(50))
NUM_SAMPLES = command_flags.integer("num_samples", None, "Number of samples of a set", ranges.SAMPLES)
LATENTS = command_flags.path(
    "latents", "File .npz of latents z f32[N, latent_dim] and labels to generate images of"
)
BATCH_SIZE = command_flags.integer(
    "batch_size",
    None,
    "For .npz, number of images that a device generates at once (default: by memory)",
    ranges.IMAGES_AT_ONCE,
)
PLACE = cli.define_processes()

# The flag that selects the task, and the ending of the output: the flags that the task accepts besides.
PICTURE = ("classes", "seed", "rows")
INTERPOLATION = (*PICTURE, "truncation", "steps")
ACCEPTED = {
    (None, ".png"): (*PICTURE, "truncation"),
    ("truncations", ".png"): PICTURE,
    ("interpolate", ".png"): INTERPOLATION,
    ("interpolate", ".gif"): (*INTERPOLATION, "fps"),
    ("interpolate", ".mp4"): (*INTERPOLATION, "fps"),
    ("num_samples", ".npz"): ("classes", "seed", "truncation", "batch_size"),
    ("latents", ".npz"): ("truncation", "batch_size"),
}
TASKS = tuple(dict.fromkeys(task for task, _ in ACCEPTED if task))


def main(argv: Sequence[str]) -> int:
    """Writes the requested picture, animation or set; returns the exit code."""
    del argv
    task, truncations = _task(), _truncations()
    from biggan_jax.runtime import processes  # here: --help and a misspelt flag need not wait for JAX

    processes.join(*PLACE())
    try:
        with processes.fail_fast(), enough_memory(lambda: "lower --batch_size, or the number of images"):
            _sample(task, truncations)
    except KeyboardInterrupt:
        hint = "; the same command continues where it was" if task == "num_samples" else ""
        print(f"\ninterrupted{hint}", flush=True)
        os._exit(EXIT_INTERRUPTED)  # an ordinary exit may wait for other processes
    return 0


def _task() -> str | None:
    """Returns the flag that selects the task; None for a sheet of classes.

    Raises:
      UserError: Flags contradict each other, or one of them would change nothing.
    """
    if (WEIGHTS.value is None) == (WORKDIR.value is None):
        raise UserError("give one of --weights=EXPORT and --workdir=DIR (a run)")
    given = [name for name in TASKS if flags.FLAGS[name].present]
    task = given[0] if given else None
    if len(given) > 1:
        raise UserError(f"give one of --{' and --'.join(given)}")
    ending = Path(OUTPUT.value).suffix.lower()
    if "://" in OUTPUT.value or ending not in {ending for _, ending in ACCEPTED}:
        raise UserError(f"--output={OUTPUT.value}: give a file on this machine, .png, .gif, .mp4 or .npz")
    if (task, ending) not in ACCEPTED:
        if task:
            remedy = " or ".join(possible for flag, possible in ACCEPTED if flag == task)
            raise UserError(f"--output={OUTPUT.value}: --{task} is written to {remedy}")
        remedy = " or ".join(dict.fromkeys(f"--{flag}" for flag, possible in ACCEPTED if possible == ending))
        raise UserError(f"--output={OUTPUT.value}: {ending} needs {remedy}")
    accepted = (*ACCEPTED[task, ending], *(["step"] if WORKDIR.value else []))
    for name in ("step", "classes", "truncation", "seed", "rows", "steps", "fps", "batch_size"):
        if flags.FLAGS[name].present and name not in accepted:
            reason = f"with --{task}" if task and name != "fps" else f"for {ending}"
            reason = "without --workdir" if name == "step" else reason
            raise UserError(f"--{name} changes nothing {reason}: leave it out")
    return task


def _truncations() -> list[float]:
    """Returns the requested truncations; an empty list leaves the choice to the generator."""
    return [*(TRUNCATIONS.value or ()), *([] if TRUNCATION.value is None else [TRUNCATION.value])]


def _sample(task: str | None, truncations: list[float]) -> None:
    import jax

    from biggan_jax.runtime.files import check_output
    from biggan_jax.runtime.ownership import owning_output
    from biggan_jax.sampling.animation import refuse_without_video

    first, path = jax.process_index() == 0, Path(OUTPUT.value)
    if not first and task != "num_samples":
        return
    if first:
        check_output(path, overwrite=path.suffix.lower() != ".npz")
    if path.suffix.lower() == ".mp4":
        refuse_without_video()
    with owning_output(path) if first else contextlib.nullcontext():
        _write(path, task, truncations)


def _write(path: Path, task: str | None, truncations: list[float]) -> None:
    import jax
    from rich.console import Console

    from biggan_jax.sampling.sampler import Sampler, largest_batch

    console = Console(highlight=False, markup=False, soft_wrap=True, quiet=jax.process_index() > 0)
    generator = _generator(truncations, console)
    if task == "num_samples":
        batch_size = BATCH_SIZE.value or largest_batch(generator.model, jax.local_devices()[0])
        _write_set(path, generator, Sampler(generator, batch_size=batch_size), batch_size, console)
    elif task == "latents":
        from biggan_jax.sampling.latents_file import read_latents, write_images

        sampler = Sampler(generator, batch_size=BATCH_SIZE.value)
        z, labels = read_latents(Path(cli.given(LATENTS)), sampler)
        write_images(path, sampler, z, labels, TRUNCATION.value, console)
    else:
        _write_picture(path, task, Sampler(generator), truncations)
    console.print(f"written to {path}")


def _generator(truncations: list[float], console: "Console") -> "ExportedGenerator":
    """Returns the generator of the export or run."""
    if WEIGHTS.value:
        from biggan_jax.exports.export_files import read_export

        return read_export(Path(WEIGHTS.value))
    from biggan_jax.runtime.files import resolve_directory
    from biggan_jax.training.run.averaged_generator import averaged_generator
    from biggan_jax.training.run.saved_run import saved_config

    workdir = resolve_directory(cli.given(WORKDIR))
    config = saved_config(workdir)
    return averaged_generator(
        workdir, config, STEP.value, truncations or [config.sampling.truncation], console
    )


def _write_set(
    path: Path, generator: "ExportedGenerator", sampler: "Sampler", batch_size: int, console: "Console"
) -> None:
    from biggan_jax.sampling.sample_sets import SampleSetRequest, weights_digest, write_sample_set

    request = SampleSetRequest(
        num_samples=cli.given(NUM_SAMPLES),
        classes=tuple(_labels(sampler) or range(sampler.num_classes)),
        truncation=sampler.truncation if TRUNCATION.value is None else TRUNCATION.value,
        seed=SEED.value,
        batch_size=batch_size,
        weights=weights_digest(generator),
    )
    write_sample_set(path, sampler, request, console)


def _write_picture(path: Path, task: str | None, sampler: "Sampler", truncations: list[float]) -> None:
    from biggan_jax.runtime.files import atomic_file
    from biggan_jax.sampling import animation, pictures
    from biggan_jax.sampling.sheets import png

    labels = _labels(sampler) or pictures.default_classes(sampler)
    seed, ending = SEED.value, path.suffix.lower()
    if task == "interpolate":
        between = cast("Interpolation", INTERPOLATE.value)
        steps = STEPS.value or (8 if ending == ".png" else 32)
        rows = ROWS.value or 1
        images = pictures.interpolations(sampler, between, labels, rows, steps, TRUNCATION.value, seed)
        if ending != ".png":
            frames = pictures.animation_frames(sampler, between, labels, images)
            write = animation.write_gif if ending == ".gif" else animation.write_mp4
            with atomic_file(path) as file:
                write(file, frames, FPS.value)
            return
        picture = pictures.interpolation_sheet(sampler, between, labels, images)
    elif task == "truncations":
        picture = pictures.truncation_sheet(sampler, labels, ROWS.value or 4, truncations, seed)
    else:
        picture = pictures.class_sheet(sampler, labels, ROWS.value or 8, TRUNCATION.value, seed)
    with atomic_file(path) as file:
        file.write(png(picture))


def _labels(sampler: "Sampler") -> list[int] | None:
    """Returns the labels of --classes, or None without this flag."""
    if CLASSES.value is None:
        return None
    if not CLASSES.value:
        raise UserError("--classes= is empty: give names or numbers, such as sandal,7")
    return sampler.labels([_class(word) for word in CLASSES.value]).tolist()


def _class(word: str) -> int | str:
    try:
        return int(word)
    except ValueError:
        return word


if __name__ == "__main__":
    cli.run(main)
