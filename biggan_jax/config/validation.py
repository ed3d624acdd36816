"""Refuses configs that cannot be run: wrong names and types, values that are not allowed, contradictions."""

import importlib
from collections.abc import Iterator, Set
from fractions import Fraction
from typing import Any

from ml_collections import ConfigDict

from biggan_jax.config.fields import FIELDS, default_config
from biggan_jax.models.architecture import conditioning_name, resolve
from biggan_jax.runtime.config_file import did_you_mean, field_names
from biggan_jax.runtime.errors import UserError

# Imported by name when values are checked, like the tables that fields name: it is not below the config.
CATALOGUE = "biggan_jax.data.catalogue"
CONDITIONINGS = "biggan_jax.models.conditioning"  # which imports Flax

MOST_SHOWN = 200  # characters of a value in a message
SHEET_PIXELS = 2**28  # of a sample sheet
_OF_BLOCKS = {
    f"model.{field}"
    for field in (
        "architecture",
        "resolution",
        "channels",
        "generator_channels",
        "discriminator_channels",
        "discriminator_downsample",
    )
}
_OF_SHEETS = {
    "model.resolution",
    "model.num_classes",
    "sampling.samples_per_class",
    "sampling.max_classes",
}

KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a name in quotes",
    tuple: "a tuple of whole numbers, such as (8, 4, 2, 1)",
    ConfigDict: "a ConfigDict",
}


class ConfigError(UserError):
    """A config that cannot be run: each line of the message names a field, its value and the remedy."""


def validate(config: ConfigDict, replicas: int = 1) -> None:
    """Refuses a config that cannot be run, before anything is compiled.

    Args:
      config: All fields of `default_config`, no others.
      replicas: Number of devices that share each batch.

    Raises:
      ConfigError: The config has problems; the message lists all of them, one a line.
    """
    problems = list(_schema_problems(config))
    if not problems:  # the other checks rely on the names and types of all fields
        refused = dict(_value_problems(config))
        problems = [*refused.values(), *_combination_problems(config, replicas, set(refused))]
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"the config has {len(problems)} problems:", *problems]))


def _schema_problems(config: ConfigDict) -> Iterator[str]:
    """Yields fields that are unknown, missing or of the wrong type."""
    expected = default_config()
    names, given = field_names(expected), field_names(config)
    for name in sorted(given - names):
        if name.rpartition(".")[0] not in given - names:  # an unknown section is reported once
            yield f"config.{name} is not a field{did_you_mean(name, names)}"
    for name in sorted(names - given):
        yield f"config.{name} is missing: start from biggan_jax.config.default_config()"
    for name in sorted(names & given):
        default = _get(expected, name)
        if not _same_kind(default, _get(config, name)):
            yield _problem(config, name, f"give {KINDS[type(default)]}")


def _same_kind(default: Any, value: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(type(item) is int for item in value)
    if isinstance(default, float):
        return type(value) in (float, int)
    return type(value) is type(default)


def _value_problems(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Yields name and problem of each field whose value the table of fields does not allow."""
    for name, field in FIELDS.items():
        if remedy := field.allowed.remedy(_get(config, name), field.default):
            yield name, _problem(config, name, remedy)


def _combination_problems(config: ConfigDict, replicas: int, refused: Set[str]) -> Iterator[str]:
    """Yields values that contradict those of other fields, except for those of fields in `refused`."""
    model, source = config.model, config.data.source
    yield from _interval_problems(config, refused)
    yield from _checkpoint_problems(config)
    parts = replicas * config.micro_batches
    if refused & {"batch_size", "micro_batches"}:
        pass
    elif config.batch_size % parts:
        yield _problem(
            config,
            "batch_size",
            f"the batch is divided among {replicas} replicas (devices), and on each into "
            f"{config.micro_batches} micro-batches: it must be a multiple of {parts}; give "
            f"{_nearest_multiple(config.batch_size, parts)}, for example",
        )
    else:
        yield from _batch_norm_problems(config, replicas)
    if config.sampling.truncation and model.latent_distribution != "normal":
        yield _problem(
            config,
            "sampling.truncation",
            f"only normal latents can be truncated; give 0 with {model.latent_distribution!r} latents",
        )
    classes = importlib.import_module(CATALOGUE).known_classes(source)
    if classes and model.num_classes != classes:
        yield _problem(
            config,
            "model.num_classes",
            f"config.data.source = {source!r} has {classes} classes; give {classes}, or another source",
        )
    if not refused & _OF_BLOCKS:
        yield from _network_problems(config, refused)
    if not refused & _OF_SHEETS:
        yield from _sheet_problems(config)


def _interval_problems(config: ConfigDict, refused: Set[str]) -> Iterator[str]:
    """Yields intervals that do not end where the loop is between two calls, or at a checkpoint."""
    for name, divisor in (
        ("sample_every", "steps_per_call"),
        ("checkpoint_every", "steps_per_call"),
        ("evaluation.every", "steps_per_call"),
        ("evaluation.every", "log_every"),
        ("checkpoints.keep_every", "checkpoint_every"),
    ):
        interval, value = _get(config, name), _get(config, divisor)
        if refused & {name, divisor}:
            continue
        if value < 1 and interval > 0 and divisor == "checkpoint_every":
            yield _problem(
                config, name, "there are no checkpoints to keep with config.checkpoint_every = 0; give 0"
            )
        elif value >= 1 and interval > 0 and interval % value:
            nearest = _nearest_multiple(interval, value)
            yield _problem(
                config, name, f"must be a multiple of config.{divisor} = {value}; give {nearest}, for example"
            )


def _checkpoint_problems(config: ConfigDict) -> Iterator[str]:
    """Yields rules about checkpoints that need checkpoints or numbers which the run does not have."""
    back, keep = config.collapse.rollback_checkpoints, config.checkpoints.keep
    if config.on_collapse == "rollback" and back > keep >= 1:
        yield _problem(
            config,
            "collapse.rollback_checkpoints",
            f"only config.checkpoints.keep = {keep} stay on disk; keep {back}, or go back {keep}",
        )
    if config.checkpoints.best > 0 and not config.checkpoints.metric:
        yield _problem(
            config, "checkpoints.best", "name the metric, such as config.checkpoints.metric='d_loss'"
        )
    if config.checkpoints.best > 0 and "@" in config.checkpoints.metric and config.evaluation.every == 0:
        yield _problem(
            config,
            "checkpoints.metric",
            "only evaluations measure it; give config.evaluation.every, such as 5000",
        )


def _batch_norm_problems(config: ConfigDict, replicas: int) -> Iterator[str]:
    """Yields groups of images that neither divide the images of a replica nor consist of whole replicas."""
    group, micro_batch = config.replicas.batch_norm_group, config.batch_size // config.micro_batches
    of_replica = micro_batch // replicas
    if group > 0 and (micro_batch % group or (group % of_replica and of_replica % group)):
        yield _problem(
            config,
            "replicas.batch_norm_group",
            f"a group must divide the {micro_batch} images of a micro-batch, and must divide the "
            f"{of_replica} images of a replica or be a multiple of them; give {of_replica}, for example, or "
            "0 for all",
        )


def _sheet_problems(config: ConfigDict) -> Iterator[str]:
    """Yields a sample sheet of more pixels than a picture may have."""
    model, sampling = config.model, config.sampling
    images = sampling.samples_per_class * min(sampling.max_classes, model.num_classes)
    most = max(1, SHEET_PIXELS // model.resolution**2)
    if images > most:
        yield _problem(
            config,
            "sampling.samples_per_class",
            f"a sample sheet would have {images:,} images of {model.resolution} px; give fewer rows here, or "
            f"fewer columns in config.sampling.max_classes, for at most {most:,} images",
        )


def _chunk_problems(config: ConfigDict) -> Iterator[str]:
    """Yields chunks of the latent for a conditioning that takes none."""
    name = conditioning_name(config.model)
    if name == "shared_embedding":  # the usual case needs no import of the table
        return
    table = importlib.import_module(CONDITIONINGS).CONDITIONINGS
    if not table[name].divides_latent:
        others = " or ".join(repr(other) for other, kind in table.items() if kind.divides_latent)
        yield _problem(
            config,
            "model.hierarchical_latents",
            f"the conditioning {name!r} takes no chunks of the latent; give False, or "
            f"config.model.conditioning={others}",
        )


def _network_problems(config: ConfigDict, refused: Set[str]) -> Iterator[str]:
    """Yields fields of the model that describe no network."""
    model = config.model
    hierarchical = model.hierarchical_latents
    if hierarchical and model.architecture == "biggan_deep":
        yield _problem(
            config,
            "model.hierarchical_latents",
            "biggan_deep feeds the whole latent to every block; give False",
        )
        hierarchical = False
    elif hierarchical and "model.conditioning" not in refused:
        yield from _chunk_problems(config)
    try:
        blocks = resolve(model).generator_blocks
    except ValueError as error:
        yield f"config.{error}"
        return
    chunks = len(blocks) + 1
    if hierarchical and "model.latent_dim" not in refused and model.latent_dim % chunks:
        yield _problem(
            config,
            "model.latent_dim",
            f"hierarchical latents are split into {chunks} equal chunks, for the first layer and "
            f"{chunks - 1} blocks; give {_nearest_multiple(model.latent_dim, chunks)}, for example",
        )


def _problem(config: ConfigDict, name: str, remedy: str) -> str:
    return f"config.{name} = {_shown(_get(config, name))}: {remedy}"


def _shown(value: Any) -> str:
    """Returns the value as Python writes it, shortened where it would fill the screen."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def _nearest_multiple(value: int, factor: int) -> int:
    return max(1, round(Fraction(value, factor))) * factor


def _get(config: ConfigDict, name: str) -> Any:
    value: Any = config
    for key in name.split("."):
        value = value[key]
    return value
