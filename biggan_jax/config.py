"""Every field of a config with its meaning, and the checks that refuse impossible values.

A file in configs/ defines `get_config()`, which starts from `default_config()` and sets what differs.
"""

import importlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from biggan_jax.models.architecture import ARCHITECTURES, resolve
from biggan_jax.runtime.cli import did_you_mean, field_names
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.mappings import MAPPINGS

RESPONSES = ("stop", "rollback")
CHOICES = {
    "on_collapse": RESPONSES,
    "model.architecture": ARCHITECTURES,
    "model.dtype": ("float32", "bfloat16"),
    "replicas.mapping": MAPPINGS,
}

# Fields that name entries of a table, which stands beside the functions that it lists. The tables are read
# when values are checked. By then every field's name has been checked, without waiting for JAX.
TABLES = {
    "loss": "biggan_jax.training.step.losses:LOSSES",
    "model.latent_distribution": "biggan_jax.sampling.latents:DISTRIBUTIONS",
    "augmentation": "biggan_jax.training.step.augmentation:POLICIES",
}
LISTS = ("augmentation",)  # fields that hold any number of names, separated by commas

# The smallest value each number may have.
MINIMUM = {
    "seed": 0,
    "batch_size": 1,
    "total_steps": 1,
    "d_steps": 1,
    "micro_batches": 1,
    "steps_per_call": 1,
    "log_every": 1,
    "sample_every": 0,
    "checkpoint_every": 0,
    "model.channels": 1,
    "model.num_classes": 1,
    "model.latent_dim": 1,
    "model.class_embedding_dim": 1,
    "optimizer.g_learning_rate": 0,
    "optimizer.d_learning_rate": 0,
    "optimizer.orthogonal_regularization": 0,
    "ema.start_step": 0,
    "remedies.r1": 0,
    "remedies.r2": 0,
    "remedies.g_clamp": 0,
    "remedies.lecam": 0,
    "remedies.lecam_start_step": 0,
    "replicas.batch_norm_group": 0,
    "sampling.standing_passes": 1,
    "sampling.batch_size": 1,
    "sampling.samples_per_class": 1,
    "sampling.max_classes": 1,
    "sampling.truncation": 0,
    "data.max_refused": 0,
    "evaluation.every": 0,
    "evaluation.num_samples": 10,  # IS has ten splits
    "evaluation.reference_images": 0,
    "checkpoints.keep": 1,
    "checkpoints.keep_every": 0,
    "checkpoints.best": 0,
    "collapse.check_every": 0,
    "collapse.warmup_steps": 0,
    "collapse.patience": 1,
    "collapse.d_loss_floor": 0,
    "collapse.gradient_floor": 0,
    "collapse.sigma_ratio": 1,
    "collapse.sigma_window": 1,
    "collapse.rollback_checkpoints": 1,
    "collapse.max_rollbacks": 0,
}
POSITIVE = (
    "model.epsilon",
    "optimizer.epsilon",
    "collapse.d_loss_ceiling",
    "collapse.g_rate_factor",
    "collapse.d_rate_factor",
)
DECAYS = (
    "optimizer.beta1",
    "optimizer.beta2",
    "ema.decay",
    "remedies.d_dropout",
    "remedies.lecam_decay",
)  # in [0, 1)

# Data sets whose number of classes is known without opening them.
SOURCE_CLASSES = {
    "fashion_mnist": 10,
    "tfds:fashion_mnist": 10,
    "tfds:mnist": 10,
    "tfds:cifar10": 10,
    "tfds:cifar100": 100,
    "tfds:imagenet2012": 1000,
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


def default_config() -> ConfigDict:
    """BigGAN at 128×128 on ImageNet with the paper's values; locked, so a misspelt field is an error."""
    config = ConfigDict()
    config.seed = 0  # of weights, latents, data order: the same seed gives the same run
    config.batch_size = 2048  # images an update, over all replicas and processes
    config.total_steps = 165_000  # generator updates
    config.d_steps = 2  # discriminator updates, each on its own batch, for one generator update
    config.micro_batches = 1  # parts that each batch is worked through in, to save memory; divides batch_size
    config.loss = "hinge"  # of D and G: or "non_saturating", "wasserstein", "relativistic"
    config.steps_per_call = 1  # steps that one call of the compiled program does; more spare the host work
    config.log_every = 100  # steps between rows of metrics
    config.sample_every = 1_000  # steps between sample sheets; 0 = never
    config.checkpoint_every = 1_000  # steps between checkpoints; 0 = never
    # What a new run's networks are taken from: an export, another run's workdir, or WORKDIR/checkpoints/STEP.
    config.init_from = ""  # "" = nothing: random weights (training/run/initialization.py)

    config.model = model = ConfigDict()
    model.architecture = "biggan"  # or "biggan_deep"
    model.resolution = 128  # pixels a side
    model.channels = 96  # ch, the width that the tables below multiply
    model.num_classes = 1000  # labels are 0 … num_classes - 1
    model.latent_dim = 120  # length of z
    model.shared_embedding = True  # one class embedding for all batch norms; else gains and biases by class
    model.class_embedding_dim = 128  # length of the shared class embedding
    model.hierarchical_latents = True  # skip-z: a chunk of z for the first layer and one for each block
    model.attention_resolution = 64  # pixels a side where both networks have self-attention; 0 = none
    model.generator_channels = ()  # widths in ch from 4×4 upward, e.g. (16, 16, 8, 4, 2, 1); () = the paper's
    model.discriminator_channels = ()  # block widths in ch from the image downward; () = the paper's
    model.discriminator_downsample = ()  # 1 for a block that halves the resolution, else 0; () = the usual
    model.latent_distribution = "normal"  # or "uniform", "bernoulli", "censored_normal"
    model.epsilon = 1e-4  # added to variances in batch norm and to norms in spectral norm
    model.dtype = "float32"  # what layers compute in, or "bfloat16"; parameters are float32 always
    model.remat = False  # compute blocks again in the backward pass: less memory, more time

    config.optimizer = optimizer = ConfigDict()
    optimizer.g_learning_rate = 5e-5  # Adam's rate for the generator
    optimizer.d_learning_rate = 2e-4  # Adam's rate for the discriminator
    optimizer.beta1 = 0.0  # decay of Adam's first moment
    optimizer.beta2 = 0.999  # decay of Adam's second moment
    optimizer.epsilon = 1e-8  # Adam's, added to the root of the second moment
    optimizer.orthogonal_regularization = 1e-4  # strength on the generator's weights; 0 = off

    # Against collapse and, for small data sets, overfitting; 0 = off (training/step/penalties.py).
    config.remedies = remedies = ConfigDict()
    remedies.r1 = 0.0  # γ of the penalty on D's slope at real images as D sees them; half is taken
    remedies.r2 = 0.0  # γ of the same penalty at generated images
    remedies.d_dropout = 0.0  # chance that a feature before D's last layer is dropped
    remedies.g_clamp = 0.0  # limit of the largest singular value of G's first layer
    remedies.lecam = 0.0  # weight of LeCam regularisation
    remedies.lecam_decay = 0.9  # of its moving averages of D's logits, per D update
    remedies.lecam_start_step = 1_000  # until this step they are copies and there is no penalty
    config.augmentation = ""  # of all that D sees, such as "color,translation,cutout"

    config.ema = ema = ConfigDict()
    ema.decay = 0.9999  # of the average of the generator's weights that sampling uses, per step
    ema.start_step = 20_000  # until this step the average is a copy of the weights

    config.data = data = ConfigDict()
    data.source = "tfds:imagenet2012"  # or "fashion_mnist", "folder:PATH", "prepared:PATH", any "tfds:NAME"
    data.split = "train"  # the source's split, in its own words
    data.max_refused = 0.01  # share of pictures that may be unusable: they are left out, more is an error
    data.random_flip = True  # mirror every other image, left to right, at random

    config.replicas = ConfigDict()
    config.replicas.batch_norm_group = (
        0  # images that share batch norm's statistics; 0 = all of a micro-batch
    )
    config.replicas.mapping = "pmap"  # how the step is mapped over devices, or "shard_map" (several hosts)

    config.sampling = sampling = ConfigDict()
    sampling.standing_passes = 100  # forward passes that batch norm's standing statistics are averaged over
    sampling.batch_size = 64  # images drawn at once
    sampling.samples_per_class = 8  # rows of a sample sheet
    sampling.max_classes = 10  # columns of a sample sheet, at most
    sampling.truncation = 0.0  # threshold beyond which latents are drawn again; 0 = untruncated

    config.evaluation = evaluation = ConfigDict()  # during training, of the averaged weights
    evaluation.every = 0  # steps between evaluations; 0 = never
    evaluation.network = "classifier"  # what scores see with: or "inception", or your own "module:function"
    evaluation.num_samples = 50_000  # as many of each class
    evaluation.reference_images = 0  # the first so many real images to compare with; 0 = all

    config.checkpoints = checkpoints = ConfigDict()
    checkpoints.keep = 3  # the last so many checkpoints stay on disk
    checkpoints.keep_every = 0  # and, for good, those of steps that this divides; 0 = none
    checkpoints.best = 0  # and the best so many
    checkpoints.metric = ""  # by this number of the rows of metrics, such as "fid@classifier"
    checkpoints.higher_is_better = False  # whether the best is the highest, not the lowest

    config.on_collapse = "stop"  # with the last good checkpoint kept, or "rollback" to an earlier one
    config.collapse = collapse = ConfigDict()  # the rule: training/monitoring/collapse.py
    collapse.check_every = 1_000  # steps between looks at the singular values of all weights; 0 = never
    collapse.warmup_steps = 1_000  # until this step only numbers that are not finite count
    collapse.patience = 10  # rows of metrics on end that a loss or gradient must be beyond these bounds:
    collapse.d_loss_floor = 0.01
    collapse.d_loss_ceiling = 4.0
    collapse.gradient_floor = 1e-4  # of the norm of either network's gradient
    collapse.sigma_ratio = 4.0  # growth of a weight's largest singular value over its median that is too much
    collapse.sigma_window = 10  # looks that the median is taken of
    collapse.rollback_checkpoints = 3  # how many checkpoints to go back
    collapse.max_rollbacks = 3  # times; at the next collapse the run stops
    collapse.g_rate_factor = 1.0  # by which G's rate is multiplied at each rollback
    collapse.d_rate_factor = 1.0  # by which D's rate is
    return config.lock()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"channels": 64}}` → `{"model.channels": 64}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def config_to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as what JSON can hold (tuples become lists), so that a saved one compares equal to it."""
    return json.loads(config.to_json())


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The fields that both configs have with unequal values: `{"model.channels": "64 → 96"}`.

    A field that only one of them has (configs grow) is not a difference.
    """
    before, after = flatten(saved), flatten(now)
    return {
        field: f"{before[field]!r} → {after[field]!r}"
        for field in after
        if field in before and before[field] != after[field]
    }


def validate(config: ConfigDict, replicas: int = 1) -> None:
    """Refuses a config that cannot be run, before anything is compiled.

    Args:
      config: all fields of `default_config`, no others.
      replicas: devices that share each batch.

    Raises:
      ConfigError: everything that is wrong, one problem a line.
    """
    problems = list(_schema_problems(config))
    if not problems:  # the other checks presume that every field is there and of its type
        problems = [*_value_problems(config), *_combination_problems(config, replicas)]
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"the config has {len(problems)} problems:", *problems]))


def _schema_problems(config: ConfigDict) -> Iterator[str]:
    expected = default_config()
    names, given = field_names(expected), field_names(config)
    for name in sorted(given - names):
        if name.rpartition(".")[0] not in given - names:  # of an unknown section, the section says it all
            yield f"config.{name} is not a field{did_you_mean(name, names)}"
    for name in sorted(names - given):
        yield f"config.{name} is missing: start from biggan_jax.config.default_config()"
    for name in sorted(names & given):
        default = _get(expected, name)
        if not _same_kind(default, _get(config, name)):
            yield _problem(config, name, f"give {KINDS[type(default)]}")


def _same_kind(default: Any, value: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(isinstance(item, int) for item in value)
    if isinstance(default, float):
        return type(value) in (float, int)
    return type(value) is type(default)


def _value_problems(config: ConfigDict) -> Iterator[str]:
    for name, choices in CHOICES.items():
        if _get(config, name) not in choices:
            yield _problem(config, name, f"choose one of {', '.join(map(repr, choices))}")
    for name in TABLES:
        table = _table(name)
        for entry in names_in(_get(config, name)) if name in LISTS else [_get(config, name)]:
            if entry not in table:
                yield _problem(config, name, f"{entry!r} is none of {', '.join(table)}")
    for name, minimum in MINIMUM.items():
        if not minimum <= _get(config, name) < math.inf:  # in this form, not-a-number fails too
            yield _problem(config, name, f"give {minimum} or more")
    if config.seed >= 2**32:  # JAX would silently take the lower 32 bits
        yield _problem(config, "seed", "give a number below 2**32")
    for name in POSITIVE:
        if not 0 < _get(config, name) < math.inf:
            yield _problem(config, name, f"give a number above 0, such as {_get(default_config(), name)}")
    for name in DECAYS:
        if not 0 <= _get(config, name) < 1:
            yield _problem(config, name, f"give 0 or more, below 1, such as {_get(default_config(), name)}")
    for name in ("data.source", "data.split", "evaluation.network"):
        if not _get(config, name):
            yield _problem(config, name, f"give a name, such as {_get(default_config(), name)!r}")


def _combination_problems(config: ConfigDict, replicas: int) -> Iterator[str]:
    model, source = config.model, config.data.source
    yield from _interval_problems(config)
    parts = replicas * config.micro_batches
    if config.batch_size >= 1 and parts >= 1 and config.batch_size % parts:
        yield _problem(
            config,
            "batch_size",
            f"it is shared by {replicas} replicas (devices), each of which works through "
            f"{config.micro_batches} micro-batches, and must be a multiple of {parts}; give "
            f"{_nearest_multiple(config.batch_size, parts)}, for example",
        )
    elif config.batch_size >= 1 and parts >= 1:
        yield from _batch_norm_problems(config, replicas)
    if config.sampling.truncation and model.latent_distribution != "normal":
        yield _problem(
            config,
            "sampling.truncation",
            f"only normal latents can be truncated; give 0 with {model.latent_distribution!r} latents",
        )
    classes = SOURCE_CLASSES.get(":".join(source.partition("/")[0].split(":")[:2]))
    if classes and model.num_classes != classes:
        yield _problem(
            config,
            "model.num_classes",
            f"config.data.source = {source!r} has {classes} classes; give {classes}, or another source",
        )
    if model.architecture in ARCHITECTURES and model.channels >= 1:
        yield from _network_problems(config)


def _interval_problems(config: ConfigDict) -> Iterator[str]:
    """Intervals at whose ends the loop must be between two calls, or at a checkpoint."""
    for name, divisor in (
        ("sample_every", "steps_per_call"),
        ("checkpoint_every", "steps_per_call"),
        ("evaluation.every", "steps_per_call"),
        ("evaluation.every", "log_every"),
        ("checkpoints.keep_every", "checkpoint_every"),
    ):
        interval, value = _get(config, name), _get(config, divisor)
        if value < 1 and interval > 0 and divisor == "checkpoint_every":
            yield _problem(config, name, "there are no checkpoints to keep with config.checkpoint_every = 0")
        elif value >= 1 and interval > 0 and interval % value:
            nearest = _nearest_multiple(interval, value)
            yield _problem(
                config, name, f"must be a multiple of config.{divisor} = {value}; give {nearest}, for example"
            )
    back, keep = config.collapse.rollback_checkpoints, config.checkpoints.keep
    if config.on_collapse == "rollback" and back > keep >= 1:
        yield _problem(
            config,
            "collapse.rollback_checkpoints",
            f"only config.checkpoints.keep = {keep} stay on disk; keep {back}, or go back {keep}",
        )
    if config.checkpoints.best > 0 and not config.checkpoints.metric:
        yield _problem(config, "checkpoints.best", "say by which number: config.checkpoints.metric='d_loss'")
    if config.checkpoints.best > 0 and "@" in config.checkpoints.metric and config.evaluation.every == 0:
        yield _problem(
            config,
            "checkpoints.metric",
            "it comes of evaluations; give config.evaluation.every, such as 5000",
        )


def _batch_norm_problems(config: ConfigDict, replicas: int) -> Iterator[str]:
    group, micro_batch = config.replicas.batch_norm_group, config.batch_size // config.micro_batches
    of_replica = micro_batch // replicas
    if group > 0 and (micro_batch % group or (group % of_replica and of_replica % group)):
        yield _problem(
            config,
            "replicas.batch_norm_group",
            f"groups must divide the {micro_batch} images of a micro-batch, and each must be a part or a "
            f"multiple of the {of_replica} on one replica; give {of_replica}, for example, or 0 for all",
        )


def _network_problems(config: ConfigDict) -> Iterator[str]:
    model = config.model
    hierarchical = model.hierarchical_latents
    if hierarchical and model.architecture == "biggan_deep":
        yield _problem(
            config,
            "model.hierarchical_latents",
            "biggan_deep feeds the whole latent to every block; give False",
        )
        hierarchical = False
    elif hierarchical and not model.shared_embedding:
        yield _problem(
            config,
            "model.hierarchical_latents",
            "chunks of the latent go to the batch norms beside the shared class embedding; give False, or "
            "config.model.shared_embedding=True too",
        )
    try:
        blocks = resolve(model).generator_blocks
    except ValueError as error:
        yield f"config.{error}"
        return
    chunks = len(blocks) + 1
    if hierarchical and model.latent_dim >= 1 and model.latent_dim % chunks:
        yield _problem(
            config,
            "model.latent_dim",
            f"hierarchical latents are split into {chunks} equal chunks, for the first layer and "
            f"{chunks - 1} blocks; give {_nearest_multiple(model.latent_dim, chunks)}, for example",
        )


def names_in(text: str) -> tuple[str, ...]:
    """Splits a field that lists names: `"color, cutout"` → `("color", "cutout")`; "" is no name."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _table(field: str) -> Mapping[str, Any]:
    module, _, name = TABLES[field].partition(":")
    return getattr(importlib.import_module(module), name)


def _problem(config: ConfigDict, name: str, remedy: str) -> str:
    return f"config.{name} = {_get(config, name)!r}: {remedy}"


def _nearest_multiple(value: int, factor: int) -> int:
    return max(1, round(value / factor)) * factor


def _get(config: ConfigDict, name: str) -> Any:
    for key in name.split("."):
        config = config[key]
    return config
