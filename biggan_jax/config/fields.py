"""Every field of a config: default, allowed values and meaning, in one table.

The defaults are the paper's values for BigGAN at 128×128 on ImageNet. `default_config`, the checks in
validation.py, `python -m biggan_jax.describe --fields` and the documentation all read this table. A new field
is one entry here.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from biggan_jax.config.allowed import (
    Allowed,
    Anything,
    Choice,
    Described,
    Entries,
    Entry,
    Name,
    OptionalEntry,
)
from biggan_jax.models.architecture import ARCHITECTURES
from biggan_jax.runtime.mappings import MAPPINGS
from biggan_jax.runtime.ranges import (
    EPSILON,
    IMAGES_AT_ONCE,
    PASSES,
    SAMPLES,
    SEED,
    SHARE,
    STEP,
    STEPS,
    TRUNCATION,
    Number,
    from_0_up_to,
    up_to,
)

ANYTHING = Anything()
NAME = Name()
DECAY = Number(minimum=0, below=1)
RATE = from_0_up_to(1)
STRENGTH = from_0_up_to(1_000_000)
THRESHOLD = from_0_up_to(1_000_000_000)
WIDTH = up_to(100_000)
FILES = up_to(100_000)
FACTOR = Number(above=0, maximum=1_000)

WIDTHS = Described("widths of 1 to 1,000, one for each block; () = the paper's", up_to(1_000))
RESOLUTION = Described(
    "4 doubled once or more, up to 4096; the paper's are 32, 64, 128, 256 and 512",
    Number(minimum=8, maximum=4096),
)
ATTENTION = Described("0, or a resolution at which a block of each network ends")


@dataclasses.dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
      default: Default, which also decides the type.
      allowed: Allowed values.
      meaning: Meaning, in one sentence or two.
    """

    default: Any
    allowed: Allowed
    meaning: str


SECTIONS = {
    "": "The run",
    "model": "Networks",
    "optimizer": "Adam and orthogonal regularisation",
    "remedies": "Regularisation against collapse and overfitting",
    "ema": "Average of the generator's weights",
    "data": "Images",
    "replicas": "Devices",
    "sampling": "Samples during training, and standing statistics",
    "evaluation": "Evaluations during training, of the averaged weights",
    "checkpoints": "Checkpoints that stay on disk",
    "collapse": "Rule by which a run counts as collapsed",
}

FIELDS = {
    "seed": Field(0, SEED, "Seed of weights, latents and data order: equal seeds give equal runs."),
    "batch_size": Field(2048, IMAGES_AT_ONCE, "Images of one update, over all replicas and processes."),
    "total_steps": Field(165_000, STEPS, "Generator updates."),
    "d_steps": Field(2, up_to(1_000), "Discriminator updates, each on a batch of its own, for one of G."),
    "micro_batches": Field(
        1, IMAGES_AT_ONCE, "Equal parts of a batch whose gradients are accumulated: less memory, more time."
    ),
    "loss": Field("hinge", Entry("biggan_jax.training.step.losses:LOSSES"), "Adversarial loss of D and G."),
    "steps_per_call": Field(
        1, up_to(100_000), "Steps that one call of the compiled program does: more save the host work."
    ),
    "log_every": Field(100, STEPS, "Steps between rows of metrics."),
    "sample_every": Field(1_000, STEP, "Steps between sample sheets; 0 = never."),
    "checkpoint_every": Field(1_000, STEP, "Steps between checkpoints; 0 = never."),
    "init_from": Field(
        "",
        Described("EXPORT, WORKDIR or WORKDIR/checkpoints/STEP; empty = random weights"),
        "Export or run from which a new run takes the networks.",
    ),
    # Section model: the networks.
    "model.architecture": Field("biggan", Choice(ARCHITECTURES), "Family of the networks."),
    "model.resolution": Field(128, RESOLUTION, "Side of an image in pixels."),
    "model.channels": Field(96, WIDTH, "The paper's ch: the width that all other widths multiply."),
    "model.num_classes": Field(1000, up_to(10_000_000), "Number of classes; labels are 0 … num_classes - 1."),
    "model.latent_dim": Field(120, WIDTH, "Length of the latent z."),
    "model.shared_embedding": Field(
        True,
        ANYTHING,
        "One class embedding for all batch norms; otherwise gains and biases by class in each.",
    ),
    "model.conditioning": Field(
        "",
        OptionalEntry("biggan_jax.models.conditioning:CONDITIONINGS"),
        "How class and latent reach G's batch norms; empty = as shared_embedding says.",
    ),
    "model.class_embedding_dim": Field(128, WIDTH, "Length of the shared class embedding."),
    "model.hierarchical_latents": Field(
        True, ANYTHING, "Skip-z: one chunk of z for the first layer and one for each block."
    ),
    "model.attention_resolution": Field(
        64, ATTENTION, "Resolution at which both networks have self-attention; 0 = no attention."
    ),
    "model.generator_channels": Field(
        (), WIDTHS, "Widths of G in units of ch, from 4×4 upward, such as (16, 16, 8, 4, 2, 1)."
    ),
    "model.discriminator_channels": Field(
        (), WIDTHS, "Widths of D's blocks in units of ch, from the image downward."
    ),
    "model.discriminator_downsample": Field(
        (),
        Described("1 or 0 for each block; () = the usual; empty for biggan_deep", from_0_up_to(1)),
        "1 for each block of D that halves the resolution, 0 for each other block.",
    ),
    "model.latent_distribution": Field(
        "normal", Entry("biggan_jax.sampling.latents:DISTRIBUTIONS"), "Distribution of the latents."
    ),
    "model.epsilon": Field(
        1e-4, EPSILON, "Term added to variances in batch norm, to norms in spectral norm."
    ),
    "model.dtype": Field(
        "float32", Choice(("float32", "bfloat16")), "Type that layers compute in; parameters stay float32."
    ),
    "model.remat": Field(False, ANYTHING, "Recompute blocks in the backward pass: less memory, more time."),
    # Section optimizer.
    "optimizer.g_learning_rate": Field(5e-5, RATE, "Adam's learning rate for the generator."),
    "optimizer.d_learning_rate": Field(2e-4, RATE, "Adam's learning rate for the discriminator."),
    "optimizer.beta1": Field(0.0, DECAY, "Decay of Adam's first moment."),
    "optimizer.beta2": Field(0.999, DECAY, "Decay of Adam's second moment."),
    "optimizer.epsilon": Field(1e-8, EPSILON, "Term that Adam adds to the root of the second moment."),
    "optimizer.orthogonal_regularization": Field(
        1e-4, STRENGTH, "Strength of orthogonal regularisation of the generator; 0 = off."
    ),
    # Section remedies: regularisation that is off in the paper's main runs.
    "remedies.r1": Field(
        0.0, STRENGTH, "γ of R1, the penalty (γ/2) E‖∇D(x)‖² on D's slope at real images; 0 = off."
    ),
    "remedies.r2": Field(
        0.0, STRENGTH, "γ of R2, the same penalty at generated images (Huang et al. 2024); 0 = off."
    ),
    "remedies.d_dropout": Field(
        0.0, DECAY, "Chance that a feature before D's last layer is dropped; 0 = off."
    ),
    "remedies.g_clamp": Field(
        0.0, STRENGTH, "Limit of the largest singular value of G's first layer; 0 = off."
    ),
    "remedies.lecam": Field(0.0, STRENGTH, "Weight of LeCam regularisation; 0 = off."),
    "remedies.lecam_decay": Field(
        0.9, DECAY, "Decay of LeCam's moving averages of D's mean logits, for each update of D."
    ),
    "remedies.lecam_start_step": Field(
        1_000, STEP, "Step at which LeCam's penalty starts; until then its averages are copies."
    ),
    "augmentation": Field(
        "",
        Entries("biggan_jax.training.step.augmentation:POLICIES"),
        "Differentiable augmentation of all images before D, such as 'color,translation,cutout'.",
    ),
    # Section ema.
    "ema.decay": Field(
        0.9999, DECAY, "Decay for each step of the average of G's weights, which sampling uses."
    ),
    "ema.start_step": Field(
        20_000, STEP, "Step at which averaging starts; until then the average is a copy."
    ),
    # Section data.
    "data.source": Field(
        "tfds:imagenet2012",
        NAME,
        "Data set: 'folder:PATH', 'tfds:NAME', 'prepared:PATH', 'fashion_mnist_10k' or 'fashion_mnist_60k'.",
    ),
    "data.split": Field("train", NAME, "Split of the source, such as 'train' or 'train[:90%]'."),
    "data.max_refused": Field(
        0.01, SHARE, "Share of pictures that may be unusable and are left out; more is an error."
    ),
    "data.random_flip": Field(True, ANYTHING, "Mirror every second image, on average, left to right."),
    "data.allow_changes": Field(
        False, ANYTHING, "Go on with other images or classes than a checkpoint has learnt from."
    ),
    # Section replicas.
    "replicas.batch_norm_group": Field(
        0, from_0_up_to(1_000_000), "Images that share batch norm's statistics; 0 = all of a micro-batch."
    ),
    "replicas.mapping": Field(
        "pmap",
        Choice(MAPPINGS),
        "Transformation that maps the step over devices; on several hosts shard_map is faster.",
    ),
    # Section sampling.
    "sampling.standing_passes": Field(
        100, PASSES, "Forward passes over which batch norm's standing statistics are averaged."
    ),
    "sampling.batch_size": Field(64, IMAGES_AT_ONCE, "Images generated at once."),
    "sampling.samples_per_class": Field(8, up_to(10_000), "Rows of a sample sheet."),
    "sampling.max_classes": Field(10, up_to(10_000), "Largest number of columns of a sample sheet."),
    "sampling.truncation": Field(
        0.0, TRUNCATION, "Threshold beyond which latents are resampled; 0 = untruncated."
    ),
    # Section evaluation.
    "evaluation.every": Field(0, STEP, "Steps between evaluations; 0 = never."),
    "evaluation.network": Field(
        "classifier", NAME, "Feature network: 'classifier', 'inception' or your own 'module:function'."
    ),
    "evaluation.num_samples": Field(
        50_000,
        Number(minimum=10, maximum=SAMPLES.maximum),  # IS has ten splits
        "Samples of an evaluation, in equal numbers for each class.",
    ),
    "evaluation.reference_images": Field(
        0,
        from_0_up_to(1_000_000_000),
        "Number of real images that are compared with, from the first on; 0 = all.",
    ),
    # Section checkpoints.
    "checkpoints.keep": Field(3, FILES, "Number of newest checkpoints that stay."),
    "checkpoints.keep_every": Field(
        0, STEP, "Checkpoints whose step is a multiple of this stay for good; 0 = none."
    ),
    "checkpoints.best": Field(0, from_0_up_to(100_000), "Number of best checkpoints that stay; 0 = none."),
    "checkpoints.metric": Field(
        "", ANYTHING, "Metric by which a checkpoint is best, such as 'fid@classifier' or 'd_loss'."
    ),
    "checkpoints.higher_is_better": Field(False, ANYTHING, "Whether the highest metric is the best one."),
    # Section collapse. The rule itself is in training/monitoring/collapse.py.
    "on_collapse": Field(
        "stop",
        Choice(("stop", "rollback")),
        "Response to a collapse: stop with the last good checkpoint, or go back to an earlier one.",
    ),
    "collapse.check_every": Field(
        1_000, STEP, "Steps between checks of the singular values of all weights; 0 = never."
    ),
    "collapse.warmup_steps": Field(
        1_000, STEP, "Step until which only numbers that are not finite count as a collapse."
    ),
    "collapse.patience": Field(
        10, STEPS, "Consecutive rows of metrics in which a loss or gradient must be out of bounds."
    ),
    "collapse.d_loss_floor": Field(0.01, THRESHOLD, "Lower bound of D's loss."),
    "collapse.d_loss_ceiling": Field(4.0, Number(above=0, maximum=1_000_000_000), "Upper bound of D's loss."),
    "collapse.gradient_floor": Field(
        1e-4, THRESHOLD, "Lower bound of the norm of either network's gradient."
    ),
    "collapse.sigma_ratio": Field(
        4.0,
        up_to(1_000_000_000),
        "Upper bound of a weight's largest singular value, in units of the median before.",
    ),
    "collapse.sigma_window": Field(10, up_to(100_000), "Number of checks over which that median is taken."),
    "collapse.rollback_checkpoints": Field(3, FILES, "Number of checkpoints to go back at a collapse."),
    "collapse.max_rollbacks": Field(
        3, from_0_up_to(100_000), "Number of rollbacks; at the next collapse the run stops."
    ),
    "collapse.g_rate_factor": Field(1.0, FACTOR, "Factor of G's learning rate at each rollback."),
    "collapse.d_rate_factor": Field(1.0, FACTOR, "Factor of D's learning rate at each rollback."),
}


def default_config() -> ConfigDict:
    """Returns the paper's BigGAN at 128×128 on ImageNet; locked, so that a misspelt field is an error."""
    config = ConfigDict()
    for name, field in FIELDS.items():
        section, _, key = name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[key] = field.default
    return config.lock()
