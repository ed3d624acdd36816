"""Import of published weights to an export: reads, completes, writes, loads again and compares."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from biggan_jax.exports.export_files import read_export, refuse_used, write_export
from biggan_jax.exports.model_card import ARCHITECTURES, CARD, model_card
from biggan_jax.exports.weights import biggan_pytorch, huggingface, tfhub
from biggan_jax.exports.weights.files import read_bytes
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.progress import counting
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.standing_statistics import standing_statistics
from biggan_jax.sampling.truncation import refuse_impossible

TRUNCATIONS_LISTED = 6


class Gathering(NamedTuple):
    """Standing statistics to gather, see `standing_statistics`."""

    truncations: tuple[float, ...] = ()
    passes: int = 100
    batch_size: int = 64
    seed: int = 0


NOTHING = Gathering()


def import_weights(
    format: str,
    files: Sequence[Path],
    output: Path,
    console: Console,
    *,
    class_names: Path | None = None,
    gathering: Gathering = NOTHING,
    truncation: float | None = None,
    epsilon: float | None = None,
) -> None:
    """Converts weights to an export and prints a summary.

    Args:
      format: Package that the weights come from.
      files: One folder for "huggingface" and "tfhub"; the file of G, and optionally of D, for
        "biggan-pytorch".
      output: Folder of the export.
      console: Console for progress and summary.
      class_names: File with the name of a class on each line, or None.
      gathering: Further statistics to gather.
      truncation: For "biggan-pytorch" alone, see `read_biggan_pytorch`.
      epsilon: For "biggan-pytorch" alone, see `read_biggan_pytorch`.

    Raises:
      UserError: If the files are not valid, or the export cannot be written; then no export is left behind.
    """
    refuse_used(output)
    exported = _read(format, files, truncation, epsilon)
    for number in gathering.truncations:
        refuse_impossible(exported.truncation_kind, number)
    if class_names:
        exported = dataclasses.replace(exported, class_names=_names(class_names, exported.model.num_classes))
    for line in _architecture(exported):
        console.print(line)
    exported = _gather(exported, gathering, console)
    _refuse_infinite_images(exported, files[0])
    others = {CARD: model_card(exported).encode()}
    write_export(output, exported, others, lambda folder: _refuse_difference(folder, exported))
    for line in _result(output, exported):
        console.print(line)


def _read(
    format: str, files: Sequence[Path], truncation: float | None, epsilon: float | None
) -> ExportedGenerator:
    if format == biggan_pytorch.FORMAT:
        if not 1 <= len(files) <= 2:
            raise UserError(
                f"{len(files)} files: give the file of G, and the file of D after it for further training"
            )
        truncation, epsilon = truncation or 0.0, 1e-5 if epsilon is None else epsilon
        refuse_impossible("threshold", truncation)
        if not 0 < epsilon < 1:
            raise UserError(f"--epsilon={epsilon:g}: give a small number above 0, such as 1e-5")
        return biggan_pytorch.read_biggan_pytorch(*files, truncation=truncation, epsilon=epsilon)
    for name, value in {"truncation": truncation, "epsilon": epsilon}.items():
        if value is not None:
            raise UserError(f"--{name}={value:g}: files of {format} contain it; leave the flag out")
    if len(files) != 1:
        raise UserError(f"{len(files)} files: give one folder for {format}")
    readers = {huggingface.FORMAT: huggingface.read_huggingface, tfhub.FORMAT: tfhub.read_tfhub}
    return readers[format](files[0])


def _names(path: Path, num_classes: int) -> tuple[str, ...]:
    try:
        lines = read_bytes(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error}); save it in this encoding") from error
    names = tuple(line.strip() for line in lines)
    if len(names) != num_classes or not all(names):
        raise UserError(
            f"{path} has {len(names)} lines, {names.count('')} of them empty; give the names of the "
            f"{num_classes} classes, one in each line"
        )
    return names


def _gather(exported: ExportedGenerator, gathering: Gathering, console: Console) -> ExportedGenerator:
    """Returns the generator with statistics at further truncations."""
    if not gathering.truncations:
        return exported
    gathered, total = {}, gathering.passes * len(gathering.truncations)
    with counting("gathering statistics", total, unit="passes", console=console, lines=False) as advance:
        for truncation in gathering.truncations:
            if not console.is_terminal:
                console.print(f"gathering statistics at truncation {truncation:g}")
            gathered[truncation] = standing_statistics(
                exported.model,
                exported.params,
                truncation,
                passes=gathering.passes,
                batch_size=gathering.batch_size,
                seed=gathering.seed,
                kind=exported.truncation_kind,
                advance=advance,
            )
    return dataclasses.replace(
        exported,
        statistics={**exported.statistics, **gathered},
        provenance={**exported.provenance, "standing_statistics": gathering._asdict()},
    )


def _refuse_infinite_images(exported: ExportedGenerator, file: Path) -> None:
    """Refuses weights that are finite but generate images that are not."""
    if exported.statistics and not np.isfinite(Sampler(exported).sample([0], dtype="float32")).all():
        raise UserError(f"{file}: images of this generator are not finite; get it again")


def _refuse_difference(folder: Path, exported: ExportedGenerator) -> None:
    """Loads the export and compares all its numbers with the numbers in memory."""
    loaded = read_export(folder, training=True)

    def arrays(of: ExportedGenerator) -> Any:
        networks = [(one.params, one.u) for one in (of.generator, of.discriminator) if one]
        return of.params, dict(of.statistics), networks

    pairs = zip(jax.tree.leaves(arrays(loaded)), jax.tree.leaves(arrays(exported)), strict=True)
    if not all(np.array_equal(one, other) for one, other in pairs):
        raise UserError("the export does not hold what was written; check the disk and try again")


def _architecture(exported: ExportedGenerator) -> list[str]:
    model = exported.model
    attention = f"at {model.attention_resolution} px" if model.attention_resolution else "nowhere"
    latents = f"latents of {model.latent_dim}{' in chunks' if model.hierarchical_latents else ''}"
    sizes = [f"G {_count(exported.params):,}"]
    if exported.discriminator:
        sizes.append(f"D {_count(exported.discriminator.params):,}")
    return [
        f"{ARCHITECTURES[model.architecture]} for {model.resolution} px: ch {model.channels}, "
        f"{model.num_classes:,} classes, {latents}, attention {attention}, epsilon {model.epsilon:g}",
        f"parameters: {', '.join(sizes)}",
        *(f"read {name}: SHA-256 {digest}" for name, digest in exported.provenance["files"].items()),
    ]


def _count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _result(folder: Path, exported: ExportedGenerator) -> list[str]:
    stored = [f"{truncation:g}" for truncation in sorted(exported.statistics)]
    if len(stored) > TRUNCATIONS_LISTED:
        stored = [*stored[:3], "…", *stored[-2:]]
    count = "1 truncation" if len(stored) == 1 else f"{len(exported.statistics)} truncations"
    lines = [f"statistics at {count} ({exported.truncation_kind}): {', '.join(stored)}"]
    if not stored:
        lines = ["no statistics: sampling needs them, so import again with --truncations; training does not"]
    if exported.discriminator is None:
        lines.append("no discriminator: fine-tuning starts with a new one")
    return [*lines, f"written to {folder}, loaded again and compared: equal"]
