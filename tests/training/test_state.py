"""Where training starts, what it carries, and the optimizers against a numpy replay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.models.spectral_norm import weights
from biggan_jax.training.step.state import abstract_state, create_state, make_optimizers


def make_config(**optimizer):
    config = default_config()
    config.model.update(
        resolution=8,
        channels=8,
        num_classes=3,
        latent_dim=4,
        class_embedding_dim=4,
        generator_channels=(1, 1),
        discriminator_channels=(1,),
        attention_resolution=0,
    )
    config.optimizer.update(optimizer)
    return config


@pytest.fixture(scope="module")
def state():
    return create_state(make_config())


@pytest.fixture(scope="module")
def other_seed():
    config = make_config()
    config.seed = 1
    return create_state(config)


def paths(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def test_training_starts_at_step_zero_with_an_average_that_equals_the_weights(state):
    assert state.step == 0 and state.step.dtype == jnp.int32
    jax.tree.map(np.testing.assert_array_equal, state.ema_params, state.generator.params)


def test_average_and_weights_are_separate_buffers_so_the_step_can_take_both(state):
    for average, weight in zip(
        jax.tree.leaves(state.ema_params), jax.tree.leaves(state.generator.params), strict=True
    ):
        assert average.unsafe_buffer_pointer() != weight.unsafe_buffer_pointer()


def test_weights_start_orthogonal_biases_at_zero_gains_at_one(state):
    for network in (state.generator, state.discriminator):
        for path, matrix in weights(network.params).items():
            matrix = np.asarray(matrix)
            short = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
            np.testing.assert_allclose(short @ short.T, np.eye(len(short)), atol=1e-5, err_msg=path)
        for path, leaf in paths(network.params).items():
            if leaf.ndim == 1:
                assert (leaf == ("'gain'" in path)).all(), path
    embedding = np.asarray(state.generator.params["class_embedding"]["embedding"])
    np.testing.assert_allclose(embedding @ embedding.T, np.eye(3), atol=1e-5)


def test_each_weight_has_its_own_unit_vector(state):
    for network in (state.generator, state.discriminator):
        shapes = {path: (matrix.shape[1],) for path, matrix in weights(network.params).items()}
        assert {path: u.shape for path, u in network.u.items()} == shapes
        for u in network.u.values():
            np.testing.assert_allclose(np.linalg.norm(u), 1, rtol=1e-6)


def test_another_seed_starts_elsewhere_in_every_weight_vector_and_the_runs_key(state, other_seed):
    first, second = paths(state), paths(other_seed)
    drawn = [path for path in first if any(name in path for name in ("kernel", "embedding", ".u[", ".rng"))]
    drawn = [path for path in drawn if "opt_state" not in path]
    assert len(drawn) > 30
    for path in drawn:
        # A weight with one output has u = ±1.
        assert first[path].size == 1 or not np.array_equal(first[path], second[path]), path


def test_generator_and_discriminator_do_not_share_random_numbers(state):
    # Both have a 3×3 convolution of 8 to 8 channels.
    g = state.generator.params["block_0"]["conv_2"]["kernel"]
    d = state.discriminator.params["block_0"]["conv_2"]["kernel"]
    assert g.shape == d.shape and not np.allclose(g, d)


def test_abstract_state_has_the_shapes_and_types_of_the_state(state):
    def description(tree):
        return [
            (jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
            for path, leaf in jax.tree.leaves_with_path(tree)
        ]

    assert description(abstract_state(make_config())) == description(state)


def test_state_is_float32_when_layers_compute_in_bfloat16():
    config = make_config()
    config.model.dtype = "bfloat16"
    for path, leaf in jax.tree.leaves_with_path(abstract_state(config)):
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.uint32), jax.tree_util.keystr(path)


def test_adam_without_momentum_carries_one_moment_for_each_parameter_not_two():
    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree) if leaf.ndim)

    for beta1, moments in ((0.0, 1), (0.5, 2)):
        network = abstract_state(make_config(beta1=beta1)).generator
        assert size(network.opt_state) == moments * size(network.params)


def adam(gradients, start, rate, beta1, beta2, epsilon):
    """Kingma & Ba 2015, algorithm 1."""
    parameter, mean, square = start, 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * g**2
        parameter = parameter - rate * (mean / (1 - beta1**t)) / (np.sqrt(square / (1 - beta2**t)) + epsilon)
    return parameter


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_optimizers_replay_adam_with_two_time_scales(beta1):
    settings = dict(beta1=beta1, beta2=0.9, epsilon=1e-2)
    config = make_config(g_learning_rate=0.1, d_learning_rate=0.4, **settings)
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=5), rng.normal(size=(3, 5)) * np.array([1e-3, 0.01, 0.1, 1, 10])
    with jax.enable_x64(True):
        for optimizer, rate in zip(make_optimizers(config.optimizer), (0.1, 0.4), strict=True):
            parameter, opt_state = jnp.asarray(start), optimizer.init(jnp.asarray(start))
            for gradient in gradients:
                change, opt_state = optimizer.update(jnp.asarray(gradient), opt_state, parameter)
                parameter = parameter + change
            np.testing.assert_allclose(parameter, adam(gradients, start, rate, **settings), rtol=1e-12)
