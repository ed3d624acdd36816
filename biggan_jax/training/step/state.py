"""Everything that training carries from one step to the next, and where it starts."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.models.spectral_norm import Tree, initial_vectors
from biggan_jax.training.step.penalties import LogitAverages


@flax.struct.dataclass
class NetworkState:
    """One network in training: float32 parameters, the u of spectral norm by weight, Adam's moments."""

    params: Tree
    u: dict[str, jax.Array]
    opt_state: optax.OptState


@flax.struct.dataclass
class TrainState:
    """The state of a run: the same on every replica, without a device axis.

    `rng` is the raw data of the key that all randomness of the step derives from, with `step`.
    """

    step: jax.Array  # i32, number of G updates done
    rng: jax.Array  # u32[2]
    generator: NetworkState
    discriminator: NetworkState
    ema_params: Tree  # of the generator
    logit_averages: LogitAverages  # of D, for LeCam regularisation


def make_optimizers(optimizer: Any) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Adam for G and for D at two time-scales (Heusel et al. 2017), from a config's `optimizer` section."""

    def adam(learning_rate: float) -> optax.GradientTransformation:
        if optimizer.beta1 > 0:
            return optax.adam(learning_rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
        # Adam with β1 = 0 has no use for a first moment: the same update with a third less state.
        return optax.chain(
            optax.scale_by_rms(optimizer.beta2, optimizer.epsilon, eps_in_sqrt=False, bias_correction=True),
            optax.scale_by_learning_rate(learning_rate),
        )

    return adam(optimizer.g_learning_rate), adam(optimizer.d_learning_rate)


def create_state(config: Any) -> TrainState:
    """The state before the first step, from `config.seed` alone (compiled; uncommitted arrays)."""
    return jax.jit(lambda: _initial_state(config))()


def abstract_state(config: Any) -> TrainState:
    """Shapes and types of `create_state`, without computing anything."""
    return jax.eval_shape(lambda: _initial_state(config))


def _initial_state(config: Any) -> TrainState:
    model = config.model
    g_key, d_key, g_u_key, d_u_key, run_key = jax.random.split(jax.random.key(config.seed), 5)
    g_optimizer, d_optimizer = make_optimizers(config.optimizer)
    # Two images, for shapes only: initialisation reads nothing else.
    labels = jnp.zeros((2,), jnp.int32)
    images = jnp.zeros((2, model.resolution, model.resolution, 3))
    g_params = make_generator(model).init(g_key, jnp.zeros((2, model.latent_dim)), labels)["params"]
    d_params = make_discriminator(model).init(d_key, images, labels)["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        rng=jax.random.key_data(run_key),
        generator=NetworkState(g_params, initial_vectors(g_params, g_u_key), g_optimizer.init(g_params)),
        discriminator=NetworkState(d_params, initial_vectors(d_params, d_u_key), d_optimizer.init(d_params)),
        # Copies, because the step donates its state and one buffer cannot be donated twice.
        ema_params=jax.tree.map(jnp.copy, g_params),
        logit_averages=LogitAverages(jnp.zeros(()), jnp.zeros(())),
    )
