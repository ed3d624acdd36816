"""The step of one replica: D updates, one G update, EMA (Brock et al. 2019, sections 2 and 3, appendix C).

One pure function of (state, batch), mapped over replicas by `replicas.py`. Collectives run over one named
axis: batch norm's statistics, gradients, metrics. Every latent and label derives from (key of the run, step,
index in the global batch), so the number of replicas is not a hyperparameter.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from biggan_jax.config import names_in
from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.models.spectral_norm import Tree, normalize, power_iteration
from biggan_jax.sampling.latents import sample_labels, sample_latents
from biggan_jax.training.step.augmentation import augment
from biggan_jax.training.step.losses import discriminator_hinge, generator_hinge, orthogonal_penalty
from biggan_jax.training.step.regularization import (
    LogitAverages,
    clamp_singular_value,
    dropout_mask,
    lecam_penalty,
    r1_penalty,
    update_averages,
)
from biggan_jax.training.step.state import NetworkState, TrainState, make_optimizers

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Update = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
Loss = Callable[..., tuple[jax.Array, Metrics]]  # of weights, the micro-batch's number, and its part


class Keys(NamedTuple):
    """The randomness of one update of one network, each key to be folded with an image's index."""

    latents: jax.Array
    labels: jax.Array
    reals: jax.Array  # augmentation and dropout of real images
    fakes: jax.Array


class Seen(NamedTuple):
    """What D judges: images as it sees them, their labels, and factors for its last features."""

    images: jax.Array
    labels: jax.Array
    mask: jax.Array | None


def make_update(config: Any, axis_name: str | None = None, unroll: bool = False) -> Update:
    """Makes the step that `config` describes.

    Args:
      config: the whole config.
      axis_name: the replica axis, or None for one replica that is mapped over nothing.
      unroll: write the D updates out in place of a loop, for CPUs: XLA does not run convolutions inside
        a loop on its fast path there. Results are the same; compiling takes longer.

    Returns:
      A function of the state and of this replica's part of the global batch,
      `images: u8[d_steps, B, H, W, 3]` and `labels: i32[d_steps, B]`, to the next state and float32
      scalars: `d_loss` (mean over the D updates), `d_real` and `d_fake` (mean logits), `g_loss`, and the
      gradients' global norms.
    """
    model, optimizer, ema = config.model, config.optimizer, config.ema
    generator = make_generator(model, axis_name, config.replicas.batch_norm_group)
    discriminator = make_discriminator(model)
    g_optimizer, d_optimizer = make_optimizers(optimizer)
    micro_batches, remedies = config.micro_batches, config.remedies
    augmentation = names_in(config.augmentation)
    d_features = discriminator.architecture.discriminator_blocks[-1].out_channels

    def replica() -> jax.Array | int:
        return 0 if axis_name is None else lax.axis_index(axis_name)

    def generate(weights: Tree, keys: Keys, micro_batch: jax.Array, count: int) -> Seen:
        """This replica's images of a micro-batch, which is a range of the global batch."""
        replicas = 1 if axis_name is None else lax.psum(1, axis_name)
        indices = (micro_batch * replicas + replica()) * count + jnp.arange(count)
        z = sample_latents(keys.latents, indices, model.latent_dim, model.latent_distribution)
        labels = sample_labels(keys.labels, indices, model.num_classes)
        return look(generator.apply({"params": weights}, z, labels), labels, keys.fakes, indices)

    def look(images: jax.Array, labels: jax.Array, key: jax.Array, indices: jax.Array) -> Seen:
        """What D is shown of images: augmented, and with dropout's mask, by their indices."""
        augment_key, dropout_key = jax.random.split(key)
        if augmentation:
            images = augment(images, keys_of(augment_key, indices), augmentation)
        mask = None
        if remedies.d_dropout:
            mask = dropout_mask(keys_of(dropout_key, indices), d_features, remedies.d_dropout)
        return Seen(images, labels, mask)

    def judge(weights: Tree, seen: Seen) -> jax.Array:
        return discriminator.apply({"params": weights}, *seen)

    def mean_gradient(loss: Loss, weights: Tree, batch: Any) -> tuple[Tree, Metrics]:
        """Gradient and metrics, averaged over the micro-batches that `batch` is cut into and over replicas.

        The sum over micro-batches is float32 and takes the memory of one gradient, whatever their number.
        """
        gradient = jax.grad(loss, has_aux=True)
        parts = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)
        parts = (jnp.arange(micro_batches), parts)
        first = jax.tree.map(lambda x: x[0], parts)
        if micro_batches == 1:
            mean = gradient(weights, *first)
        else:
            zeros = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient, weights, *first)
            )

            def add(total: Any, part: tuple) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, total, gradient(weights, *part)), None

            total, _ = scan(add, zeros, parts, unroll)
            mean = jax.tree.map(lambda x: x / micro_batches, total)
        return mean if axis_name is None else lax.pmean(mean, axis_name)

    def d_update(
        state: NetworkState,
        averages: LogitAverages,
        lecam_weight: jax.Array,
        g_weights: Tree,
        keys: Keys,
        batch: tuple,
    ) -> tuple[NetworkState, Metrics]:
        def loss(weights: Tree, index: jax.Array, part: tuple) -> tuple[jax.Array, Metrics]:
            images, labels, rows = part
            real = look(images, labels, keys.reals, rows)
            fake = generate(g_weights, keys, index, labels.shape[0])
            both = jax.tree.map(lambda *halves: jnp.concatenate(halves), real, fake)
            real_logits, fake_logits = jnp.split(judge(weights, both), 2)
            value = discriminator_hinge(real_logits, fake_logits)
            metrics = {"d_loss": value, "d_real": real_logits.mean(), "d_fake": fake_logits.mean()}
            if remedies.r1:
                metrics["r1"] = r1_penalty(lambda x: judge(weights, real._replace(images=x)), real.images)
                value += remedies.r1 * metrics["r1"]
            if remedies.lecam:
                metrics["lecam"] = lecam_penalty(real_logits, fake_logits, *averages)
                value += lecam_weight * metrics["lecam"]
            return value, metrics

        vectors = power_iteration(state.params, state.u, model.epsilon)
        weights, pullback = jax.vjp(lambda params: normalize(params, vectors, model.epsilon), state.params)
        gradients, metrics = mean_gradient(loss, weights, batch)
        (gradients,) = pullback(gradients)
        state = _apply(d_optimizer, state, gradients, vectors.right)
        return state, metrics | {"d_gradient_norm": optax.tree.norm(gradients)}

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        d_key, g_key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step))
        g_keys = Keys(*jax.random.split(g_key, 4))
        g_params = state.generator.params
        g_vectors = power_iteration(g_params, state.generator.u, model.epsilon)
        g_weights, g_pullback = jax.vjp(lambda params: normalize(params, g_vectors, model.epsilon), g_params)

        images, labels = batch["images"], batch["labels"]
        d_steps, count = labels.shape
        rows = replica() * count + jnp.arange(count)
        # Until LeCam's start there is no penalty, and the averages are copies: they forget the untrained D.
        lecam_on = state.step >= remedies.lecam_start_step
        lecam_decay = jnp.where(lecam_on, remedies.lecam_decay, 0.0)
        lecam_weight = jnp.where(lecam_on, remedies.lecam, 0.0)

        def d_step(carry: tuple[NetworkState, LogitAverages], sub_batch: tuple) -> tuple[tuple, Metrics]:
            index, images, labels = sub_batch
            keys = Keys(*jax.random.split(jax.random.fold_in(d_key, index), 4))
            images = images.astype(jnp.float32) / 127.5 - 1.0
            d_state, metrics = d_update(*carry, lecam_weight, g_weights, keys, (images, labels, rows))
            averages = update_averages(carry[1], metrics["d_real"], metrics["d_fake"], lecam_decay)
            return (d_state, averages), metrics

        (d_state, averages), d_metrics = scan(
            d_step, (state.discriminator, state.logit_averages), (jnp.arange(d_steps), images, labels), unroll
        )

        # D is a constant here: its weights are normalised once more, for they have just changed.
        d_vectors = power_iteration(d_state.params, d_state.u, model.epsilon)
        d_weights = normalize(d_state.params, d_vectors, model.epsilon)
        d_state = d_state.replace(u=d_vectors.right)

        def g_loss(weights: Tree, index: jax.Array, places: jax.Array) -> tuple[jax.Array, Metrics]:
            value = generator_hinge(judge(d_weights, generate(weights, g_keys, index, places.shape[0])))
            return value, {"g_loss": value}

        gradients, metrics = mean_gradient(g_loss, g_weights, rows)
        (gradients,) = g_pullback(gradients)
        metrics["g_gradient_norm"] = optax.tree.norm(gradients)
        if optimizer.orthogonal_regularization:
            penalty, slope = jax.value_and_grad(orthogonal_penalty)(g_params)
            scale = optimizer.orthogonal_regularization
            gradients = jax.tree.map(lambda g, s: g + scale * s, gradients, slope)
            metrics["orthogonal_penalty"] = penalty
        g_state = _apply(g_optimizer, state.generator, gradients, g_vectors.right)
        if remedies.g_clamp:
            g_state = g_state.replace(params=_clamp_first_layer(g_state, remedies.g_clamp, model.epsilon))

        # Before its start the average is a copy, so that it never remembers the random beginning.
        step = state.step + 1
        weight_of_new = jnp.where(step <= ema.start_step, 1.0, 1.0 - ema.decay)
        ema_params = optax.incremental_update(g_state.params, state.ema_params, weight_of_new)
        metrics |= {name: values.mean() for name, values in d_metrics.items()}
        return TrainState(step, state.rng, g_state, d_state, ema_params, averages), metrics

    return update


def scan(body: Callable, carry: Any, xs: Any, unroll: bool) -> tuple[Any, Any]:
    """`lax.scan`, or the same written out (its own `unroll` leaves a loop of one turn, as slow on CPUs)."""
    if not unroll:
        return lax.scan(body, carry, xs)
    outputs = []
    for index in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, output = body(carry, jax.tree.map(lambda x, i=index: x[i], xs))
        outputs.append(output)
    return carry, jax.tree.map(lambda *values: jnp.stack(values), *outputs)


def keys_of(key: jax.Array, indices: jax.Array) -> jax.Array:
    """One key an image, from its index in the global batch."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)


def _clamp_first_layer(state: NetworkState, limit: float, epsilon: float) -> Tree:
    """G's parameters with the first layer's largest singular value at most `limit` (Brock, section 4.1)."""
    first = {"linear": {"kernel": state.params["linear"]["kernel"]}}
    vectors = power_iteration(first, {"linear/kernel": state.u["linear/kernel"]}, epsilon)
    left, right = vectors.left["linear/kernel"], vectors.right["linear/kernel"]
    kernel = clamp_singular_value(first["linear"]["kernel"], left, right, limit)
    return state.params | {"linear": state.params["linear"] | {"kernel": kernel}}


def _apply(
    optimizer: optax.GradientTransformation, state: NetworkState, gradients: Tree, u: dict[str, jax.Array]
) -> NetworkState:
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return NetworkState(optax.apply_updates(state.params, updates), u, opt_state)
