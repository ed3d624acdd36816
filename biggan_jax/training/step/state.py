"""The state that training carries from one step to the next, its initial value, and the optimisers."""

from typing import cast

import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.models.spectral_norm import Tree, initial_vectors
from biggan_jax.training.step.penalties import LogitAverages


class NetworkState(flax.struct.PyTreeNode):
    """One network in training.

    Attributes:
      params: Parameters, float32.
      u: Vectors of spectral norm, by the weight's path.
      opt_state: Adam's moments.
    """

    params: Tree
    u: dict[str, jax.Array]
    opt_state: optax.OptState


class TrainState(flax.struct.PyTreeNode):
    """The state of a run: the same on every replica, without a device axis.

    Attributes:
      step: Number of G updates done, i32.
      rng: Raw data of the run's key, u32[2]. All randomness of a step derives from this key and the step.
      generator: G in training.
      discriminator: D in training.
      ema_params: Average of G's parameters.
      logit_averages: Averages of D's mean logits, for LeCam regularisation.
    """

    step: jax.Array
    rng: jax.Array
    generator: NetworkState
    discriminator: NetworkState
    ema_params: Tree
    logit_averages: LogitAverages


def make_optimizers(
    optimizer: ConfigDict,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Makes Adam for G and for D, at two time-scales (Heusel et al. 2017).

    Args:
      optimizer: `config.optimizer`.
    """

    def adam(learning_rate: float) -> optax.GradientTransformation:
        if optimizer.beta1 > 0:
            return optax.adam(learning_rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
        # Adam with β1 = 0 has no use for a first moment: the same update with a third less state.
        return optax.chain(
            optax.scale_by_rms(optimizer.beta2, optimizer.epsilon, eps_in_sqrt=False, bias_correction=True),
            optax.scale_by_learning_rate(learning_rate),
        )

    return adam(optimizer.g_learning_rate), adam(optimizer.d_learning_rate)


def create_state(config: ConfigDict) -> TrainState:
    """Creates the state before the first step, a function of `config.seed` (compiled; uncommitted arrays)."""
    return jax.jit(lambda: _initial_state(config))()


def abstract_state(config: ConfigDict) -> TrainState:
    """Returns shapes and types of `create_state`, without computing anything."""
    return jax.eval_shape(lambda: _initial_state(config))


def _initial_state(config: ConfigDict) -> TrainState:
    model = config.model
    g_key, d_key, g_u_key, d_u_key, run_key = jax.random.split(jax.random.key(config.seed), 5)
    g_optimizer, d_optimizer = make_optimizers(config.optimizer)
    # Two images, for shapes only: initialisation reads nothing else.
    labels = jnp.zeros((2,), jnp.int32)
    images = jnp.zeros((2, model.resolution, model.resolution, 3))
    latents = jnp.zeros((2, model.latent_dim))
    g_params = cast(Tree, make_generator(model).init(g_key, latents, labels)["params"])
    d_params = cast(Tree, make_discriminator(model).init(d_key, images, labels)["params"])
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        rng=jax.random.key_data(run_key),
        generator=NetworkState(g_params, initial_vectors(g_params, g_u_key), g_optimizer.init(g_params)),
        discriminator=NetworkState(d_params, initial_vectors(d_params, d_u_key), d_optimizer.init(d_params)),
        # Copies, because the step donates its state and one buffer cannot be donated twice.
        ema_params=jax.tree.map(jnp.copy, g_params),
        logit_averages=LogitAverages(jnp.zeros(()), jnp.zeros(())),
    )
