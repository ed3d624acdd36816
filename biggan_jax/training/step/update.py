"""The training step of one replica (Brock et al. 2019, sections 2 and 3, appendix C), in the paper's order.

A step is `d_steps` updates of D, each on its own real images, then one update of G, then one of the average
of G's weights. It is one pure function of (state, batch). `runtime/replicas.py` maps it over replicas, and
collectives run over that one axis: batch norm's statistics, gradients, metrics. Every latent and label
derives from (key of the run, step, index in the global batch), so the number of replicas is not a
hyperparameter.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.models.spectral_norm import Tree, normalize, power_iteration
from biggan_jax.training.step.clamping import clamp_first_layer
from biggan_jax.training.step.forward import (
    Keys,
    RealBatch,
    StepSettings,
    as_input,
    generate,
    logits_of,
    real_batch,
)
from biggan_jax.training.step.gradients import Metrics, scan
from biggan_jax.training.step.losses import LOSSES
from biggan_jax.training.step.penalties import (
    LogitAverages,
    gradient_penalty,
    lecam_penalty,
    orthogonal_penalty,
    update_averages,
)
from biggan_jax.training.step.state import NetworkState, TrainState, make_optimizers

Batch = dict[str, jax.Array]
Update = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class DiscriminatorConstants(NamedTuple):
    """Values that all D updates of one step share.

    Attributes:
      g_weights: G's normalised weights.
      key: Key of the step's D updates, to be folded with the update's number.
      lecam_weight: Weight of LeCam regularisation at this step.
      lecam_decay: Decay of the logits' averages at this step.
    """

    g_weights: Tree
    key: jax.Array
    lecam_weight: jax.Array
    lecam_decay: jax.Array


class GeneratorBatch(NamedTuple):
    """The batch of G's update: this replica's part, or one micro-batch of it.

    Attributes:
      indices: i32[N], of which only the number N counts.
      real: Real images to pair the generated ones with; None if the loss is not paired.
    """

    indices: jax.Array
    real: RealBatch | None


class NormalizedNetwork(NamedTuple):
    """One network after spectral norm.

    Attributes:
      weights: Parameters with every weight divided by its σ.
      pullback: Function of a gradient by `weights` to a 1-tuple of the gradient by the parameters.
      u: Vectors of spectral norm after this update's power iteration.
    """

    weights: Tree
    pullback: Callable[[Tree], tuple[Tree]]
    u: dict[str, jax.Array]


def make_update(config: ConfigDict, axis_name: str | None = None, unroll: bool = False) -> Update:
    """Makes the step that a config describes.

    Args:
      config: The whole config.
      axis_name: Replica axis; None for one replica that is mapped over nothing.
      unroll: Whether to write loops out, for CPUs (see `gradients.scan`). Results are the same; compiling
        takes longer.

    Returns:
      A function of the state and of this replica's part of the global batch,
      `images: u8[d_steps, B, H, W, 3]` and `labels: i32[d_steps, B]`, to the next state and float32
      scalars: `d_loss` (mean over the D updates), `d_real` and `d_fake` (mean logits), `g_loss`, the
      gradients' global norms, and each penalty that is on.
    """
    g_optimizer, d_optimizer = make_optimizers(config.optimizer)
    settings = StepSettings(
        config=config,
        generator=make_generator(config.model, axis_name, config.replicas.batch_norm_group),
        discriminator=make_discriminator(config.model),
        loss=LOSSES[config.loss],
        g_optimizer=g_optimizer,
        d_optimizer=d_optimizer,
        axis_name=axis_name,
        unroll=unroll,
    )
    return functools.partial(update, settings)


def update(settings: StepSettings, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Does one step; `make_update` describes arguments and results."""
    epsilon = settings.config.model.epsilon
    d_key, g_key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step))
    g_keys = Keys(*jax.random.split(g_key, 4))

    # D's updates and G's share G's normalised weights: G changes at the end of the step only.
    generator = _normalized(state.generator, epsilon)

    # `d_steps` updates of D (section 3: two for one update of G).
    d_steps, count = batch["labels"].shape
    constants = DiscriminatorConstants(generator.weights, d_key, *_lecam(settings, state.step))
    (d_state, averages), d_metrics = scan(
        functools.partial(discriminator_step, settings, constants),
        (state.discriminator, state.logit_averages),
        (jnp.arange(d_steps), batch["images"], batch["labels"]),
        settings.unroll,
    )

    # One update of G. D is a constant here: its weights have just changed and are normalised once more.
    d_vectors = power_iteration(d_state.params, d_state.u, epsilon)
    d_weights = normalize(d_state.params, d_vectors, epsilon)
    d_state = d_state.replace(u=d_vectors.right)
    real = None
    if settings.loss.paired:  # with the real images of the last D update
        real = real_batch(settings, batch["images"][-1], batch["labels"][-1])
    g_batch = GeneratorBatch(settings.indices(count), real)
    g_state, g_metrics = generator_step(settings, d_weights, g_keys, state.generator, generator, g_batch)

    # The average of G's weights, which samples come from (section 3).
    step = state.step + 1
    ema_params = average_weights(settings, step, state.ema_params, g_state.params)
    metrics = g_metrics | {name: values.mean() for name, values in d_metrics.items()}
    return TrainState(step, state.rng, g_state, d_state, ema_params, averages), metrics


def discriminator_step(
    settings: StepSettings,
    constants: DiscriminatorConstants,
    carry: tuple[NetworkState, LogitAverages],
    sub_batch: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[tuple[NetworkState, LogitAverages], Metrics]:
    """Updates D once, on real images and as many generated ones.

    Args:
      settings: Settings of the step.
      constants: Values that the D updates of this step share.
      carry: D and the averages of its logits, after the update before.
      sub_batch: Number of the update, its real images u8[B, H, W, 3] and their labels i32[B].
    """
    (network, averages), (number, images, labels) = carry, sub_batch
    keys = Keys(*jax.random.split(jax.random.fold_in(constants.key, number), 4))
    real = real_batch(settings, images, labels)

    discriminator = _normalized(network, settings.config.model.epsilon)
    loss = functools.partial(discriminator_loss, settings, constants, averages, keys)
    gradients, metrics = settings.mean_gradient(loss, discriminator.weights, real)
    (gradients,) = discriminator.pullback(gradients)
    network = _apply_gradients(settings.d_optimizer, network, gradients, discriminator.u)

    averages = update_averages(averages, metrics["d_real"], metrics["d_fake"], constants.lecam_decay)
    return (network, averages), metrics | {"d_gradient_norm": optax.tree.norm(gradients)}


def discriminator_loss(
    settings: StepSettings,
    constants: DiscriminatorConstants,
    averages: LogitAverages,
    keys: Keys,
    weights: Tree,
    micro_batch: jax.Array,
    batch: RealBatch,
) -> tuple[jax.Array, Metrics]:
    """Computes D's loss on one micro-batch, with its penalties, and its metrics.

    Args:
      settings: Settings of the step.
      constants: Values that the D updates of this step share.
      averages: Averages of D's logits before this update.
      keys: Keys of this update.
      weights: D's normalised weights; the loss is differentiated by these.
      micro_batch: Number of the micro-batch.
      batch: Real images of the micro-batch.
    """
    remedies, count = settings.config.remedies, batch.labels.shape[0]
    real = as_input(settings, batch.images, batch.labels, keys.reals, batch.indices)
    labels = batch.labels if settings.loss.paired else None
    fake = generate(settings, constants.g_weights, keys, micro_batch, count, labels)
    # Both halves as one batch: D treats each image alone (no batch norm), so this only saves time.
    both = jax.tree.map(lambda *halves: jnp.concatenate(halves), real, fake)
    real_logits, fake_logits = jnp.split(logits_of(settings, weights, both), 2)
    value = settings.loss.discriminator(real_logits, fake_logits)
    metrics = {"d_loss": value, "d_real": real_logits.mean(), "d_fake": fake_logits.mean()}
    for name, weight, given in (("r1", remedies.r1, real), ("r2", remedies.r2, fake)):
        if weight:
            metrics[name] = gradient_penalty(
                lambda images, given=given: logits_of(settings, weights, given._replace(images=images)),
                given.images,
            )
            value += weight * metrics[name]
    if remedies.lecam:
        metrics["lecam"] = lecam_penalty(real_logits, fake_logits, *averages)
        value += constants.lecam_weight * metrics["lecam"]
    return value, metrics


def generator_step(
    settings: StepSettings,
    d_weights: Tree,
    keys: Keys,
    network: NetworkState,
    generator: NormalizedNetwork,
    batch: GeneratorBatch,
) -> tuple[NetworkState, Metrics]:
    """Updates G once, with orthogonal regularisation and clamping if the config has them.

    Args:
      settings: Settings of the step.
      d_weights: D's normalised weights, constants here.
      keys: Keys of this update.
      network: G before the update.
      generator: G's normalised weights.
      batch: This replica's part of the update's batch.
    """
    config = settings.config
    loss = functools.partial(generator_loss, settings, d_weights, keys)
    gradients, metrics = settings.mean_gradient(loss, generator.weights, batch)
    (gradients,) = generator.pullback(gradients)
    metrics["g_gradient_norm"] = optax.tree.norm(gradients)
    strength = config.optimizer.orthogonal_regularization
    if strength:  # section 3.1, equation 3
        penalty, slope = jax.value_and_grad(orthogonal_penalty)(network.params)
        gradients = jax.tree.map(lambda g, s: g + strength * s, gradients, slope)
        metrics["orthogonal_penalty"] = penalty
    network = _apply_gradients(settings.g_optimizer, network, gradients, generator.u)
    if config.remedies.g_clamp:  # section 4.1
        clamped = clamp_first_layer(network, config.remedies.g_clamp, config.model.epsilon)
        network = network.replace(params=clamped)
    return network, metrics


def generator_loss(
    settings: StepSettings,
    d_weights: Tree,
    keys: Keys,
    weights: Tree,
    micro_batch: jax.Array,
    batch: GeneratorBatch,
) -> tuple[jax.Array, Metrics]:
    """Computes G's loss on one micro-batch, and its metrics.

    Args:
      settings: Settings of the step.
      d_weights: D's normalised weights, constants here.
      keys: Keys of this update.
      weights: G's normalised weights; the loss is differentiated by these.
      micro_batch: Number of the micro-batch.
      batch: The micro-batch.
    """
    count, labels = batch.indices.shape[0], batch.real.labels if batch.real else None
    fake = generate(settings, weights, keys, micro_batch, count, labels)
    fake_logits = logits_of(settings, d_weights, fake)
    if batch.real:
        real = as_input(settings, batch.real.images, batch.real.labels, keys.reals, batch.real.indices)
        value = settings.loss.generator(fake_logits, logits_of(settings, d_weights, real))
    else:
        value = settings.loss.generator(fake_logits)
    return value, {"g_loss": value}


def average_weights(settings: StepSettings, step: jax.Array, average: Tree, params: Tree) -> Tree:
    """Moves the average of G's weights by one step.

    Until `ema.start_step` the average is a copy, so that it keeps no trace of the initial weights.

    Args:
      settings: Settings of the step.
      step: Number of steps done, with this one.
      average: Average before this step.
      params: G's parameters after this step.
    """
    ema = settings.config.ema
    weight_of_new = jnp.where(step <= ema.start_step, 1.0, 1.0 - ema.decay)
    return cast(Tree, optax.incremental_update(params, average, weight_of_new))


def _normalized(network: NetworkState, epsilon: float) -> NormalizedNetwork:
    """Applies spectral norm (Miyato et al. 2018, algorithm 1; to G too since Zhang et al. 2018).

    It runs one power iteration for each update of a network. All forward passes of the update share the
    normalised weights.
    """
    vectors = power_iteration(network.params, network.u, epsilon)
    weights, pullback = jax.vjp(lambda params: normalize(params, vectors, epsilon), network.params)
    return NormalizedNetwork(weights, pullback, vectors.right)


def _lecam(settings: StepSettings, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns weight and decay of LeCam regularisation.

    Until its start the weight is 0 and the averages are copies: they keep no trace of the untrained D.
    """
    remedies = settings.config.remedies
    on = step >= remedies.lecam_start_step
    decay = jnp.where(on, remedies.lecam_decay, 0.0)
    return jnp.where(on, remedies.lecam, 0.0), decay


def _apply_gradients(
    optimizer: optax.GradientTransformation, network: NetworkState, gradients: Tree, u: dict[str, jax.Array]
) -> NetworkState:
    updates, opt_state = optimizer.update(gradients, network.opt_state, network.params)
    params = cast(Tree, optax.apply_updates(network.params, updates))
    return NetworkState(params, u, opt_state)
