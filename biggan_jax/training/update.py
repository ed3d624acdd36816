"""The step of one replica: D updates, one G update, EMA (Brock et al. 2019, sections 2 and 3, appendix C).

One pure function of (state, batch), mapped over replicas by `replicas.py`. Collectives run over one named
axis: batch norm's statistics, gradients, metrics. Every latent and label derives from (key of the run, step,
index in the global batch), so the number of replicas is not a hyperparameter.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from biggan_jax.models import make_discriminator, make_generator
from biggan_jax.models.spectral_norm import Tree, normalize, power_iteration
from biggan_jax.sampling.latents import draw_labels, draw_latents
from biggan_jax.training.losses import discriminator_hinge, generator_hinge, orthogonal_penalty
from biggan_jax.training.state import NetworkState, TrainState, make_optimizers

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Update = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
Loss = Callable[..., tuple[jax.Array, Metrics]]  # of weights, the micro-batch's number, and its part


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
    micro_batches = config.micro_batches

    def replica() -> jax.Array | int:
        return 0 if axis_name is None else lax.axis_index(axis_name)

    def draw(key: jax.Array, micro_batch: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """Latents and labels of this replica's part of a micro-batch: a range of the global batch."""
        replicas = 1 if axis_name is None else lax.psum(1, axis_name)
        indices = (micro_batch * replicas + replica()) * count + jnp.arange(count)
        z_key, label_key = jax.random.split(key)
        z = draw_latents(z_key, indices, model.latent_dim, model.latent_distribution)
        return z, draw_labels(label_key, indices, model.num_classes)

    def generate(weights: Tree, z: jax.Array, labels: jax.Array) -> jax.Array:
        return generator.apply({"params": weights}, z, labels)

    def judge(weights: Tree, images: jax.Array, labels: jax.Array) -> jax.Array:
        return discriminator.apply({"params": weights}, images, labels)

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
        state: NetworkState, g_weights: Tree, key: jax.Array, images: jax.Array, labels: jax.Array
    ) -> tuple[NetworkState, Metrics]:
        def loss(
            weights: Tree, index: jax.Array, real: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, Metrics]:
            images, labels = real
            z, fake_labels = draw(key, index, labels.shape[0])
            both = jnp.concatenate([images, generate(g_weights, z, fake_labels)])
            real_logits, fake_logits = jnp.split(
                judge(weights, both, jnp.concatenate([labels, fake_labels])), 2
            )
            value = discriminator_hinge(real_logits, fake_logits)
            return value, {"d_loss": value, "d_real": real_logits.mean(), "d_fake": fake_logits.mean()}

        vectors = power_iteration(state.params, state.u, model.epsilon)
        weights, pullback = jax.vjp(lambda params: normalize(params, vectors, model.epsilon), state.params)
        gradients, metrics = mean_gradient(loss, weights, (images, labels))
        (gradients,) = pullback(gradients)
        state = _apply(d_optimizer, state, gradients, vectors.right)
        return state, metrics | {"d_gradient_norm": optax.global_norm(gradients)}

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        d_key, g_key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step))
        g_params = state.generator.params
        g_vectors = power_iteration(g_params, state.generator.u, model.epsilon)
        g_weights, g_pullback = jax.vjp(lambda params: normalize(params, g_vectors, model.epsilon), g_params)

        def d_step(discriminator: NetworkState, sub_batch: tuple) -> tuple[NetworkState, Metrics]:
            index, images, labels = sub_batch
            images = images.astype(jnp.float32) / 127.5 - 1.0
            return d_update(discriminator, g_weights, jax.random.fold_in(d_key, index), images, labels)

        images, labels = batch["images"], batch["labels"]
        sub_batches = (jnp.arange(labels.shape[0]), images, labels)
        d_state, d_metrics = scan(d_step, state.discriminator, sub_batches, unroll)

        # D is a constant here: its weights are normalised once more, for they have just changed.
        d_vectors = power_iteration(d_state.params, d_state.u, model.epsilon)
        d_weights = normalize(d_state.params, d_vectors, model.epsilon)
        d_state = d_state.replace(u=d_vectors.right)

        def g_loss(weights: Tree, index: jax.Array, places: jax.Array) -> tuple[jax.Array, Metrics]:
            z, fake_labels = draw(g_key, index, places.shape[0])
            value = generator_hinge(judge(d_weights, generate(weights, z, fake_labels), fake_labels))
            return value, {"g_loss": value}

        gradients, metrics = mean_gradient(g_loss, g_weights, jnp.arange(labels.shape[1]))
        (gradients,) = g_pullback(gradients)
        metrics["g_gradient_norm"] = optax.global_norm(gradients)
        if optimizer.orthogonal_regularization:
            penalty, slope = jax.value_and_grad(orthogonal_penalty)(g_params)
            scale = optimizer.orthogonal_regularization
            gradients = jax.tree.map(lambda g, s: g + scale * s, gradients, slope)
            metrics["orthogonal_penalty"] = penalty
        g_state = _apply(g_optimizer, state.generator, gradients, g_vectors.right)

        # Before its start the average is a copy, so that it never remembers the random beginning.
        step = state.step + 1
        weight_of_new = jnp.where(step <= ema.start_step, 1.0, 1.0 - ema.decay)
        ema_params = optax.incremental_update(g_state.params, state.ema_params, weight_of_new)
        metrics |= {name: values.mean() for name, values in d_metrics.items()}
        return TrainState(step, state.rng, g_state, d_state, ema_params), metrics

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


def _apply(
    optimizer: optax.GradientTransformation, state: NetworkState, gradients: Tree, u: dict[str, jax.Array]
) -> NetworkState:
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return NetworkState(optax.apply_updates(state.params, updates), u, opt_state)
