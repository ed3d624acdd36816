"""The step against plain numpy in float64: losses, gradients by finite differences, Adam, average, order.

Three steps of two D updates each are run once with the hinge loss, and one step with each other loss, with
optimizers that also keep the gradients they were given.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain_networks as plain
import pytest
from tiny_training import (
    CLASSES,
    LATENT,
    assert_same,
    flat,
    make_batch,
    make_config,
    make_state,
    nested,
)

from biggan_jax.sampling.latents import sample_labels, sample_latents
from biggan_jax.training.step import update as update_module
from biggan_jax.training.step.state import make_optimizers
from biggan_jax.training.step.update import make_update

BATCH, STEPS = 4, 3
STEP = 1e-5  # of the finite differences
DOWNSAMPLE = (1, 0)


class Kept(NamedTuple):
    """The gradients of an optimizer's last two updates."""

    last: Any
    before: Any


def keeping(optimizer):
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Kept(zeros, zeros), optimizer.init(params)

    def update(gradients, state, params):
        kept, inner = state
        updates, inner = optimizer.update(gradients, inner, params)
        return updates, (Kept(gradients, kept.last), inner)

    return optax.GradientTransformation(init, update)


def keeping_optimizers(settings):
    return tuple(keeping(optimizer) for optimizer in make_optimizers(settings))


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def config():
    return make_config()


@pytest.fixture(scope="module")
def run(config):
    """States before and after each step, the batches, the metrics, and the step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(update_module, "make_optimizers", keeping_optimizers)
        step = jax.jit(make_update(config))
    states, metrics = [make_state(config, keeping_optimizers(config.optimizer))], []
    batches = [make_batch(config, seed) for seed in range(STEPS)]
    for batch in batches:
        state, row = step(states[-1], batch)
        states.append(jax.tree.map(np.asarray, state))
        metrics.append(row)
    return states, batches, metrics, step


class Network:
    """Parameters and singular vectors of one network, and a power iteration in numpy."""

    def __init__(self, params, u):
        self.params, self.right, self.left = flat(params), dict(u), {}
        for path, u0 in u.items():
            w = self.params[path].reshape(-1, len(u0))
            self.left[path] = w @ u0 / np.linalg.norm(w @ u0)
            self.right[path] = self.left[path] @ w / np.linalg.norm(self.left[path] @ w)

    def weights(self, params=None):
        """`params` (default: its own) with every weight divided by its σ, the vectors held."""
        leaves = dict(self.params if params is None else params)
        for path, left in self.left.items():
            matrix = leaves[path].reshape(len(left), -1)
            leaves[path] = leaves[path] / (left @ matrix @ self.right[path])
        return nested(leaves)


def draw(key):
    """Latents and labels of one update: the first two of its keys."""
    z_key, label_key, _, _ = jax.random.split(key, 4)
    indices = jnp.arange(BATCH)
    z = sample_latents(z_key, indices, LATENT)
    return np.asarray(z), np.asarray(sample_labels(label_key, indices, CLASSES))


def softplus(x):
    return np.logaddexp(0, x)


# D's and G's loss as functions of real and fake logits.
FORMULAS = {
    "hinge": (
        lambda real, fake: np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(),
        lambda real, fake: -fake.mean(),
    ),
    "non_saturating": (
        lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        lambda real, fake: softplus(-fake).mean(),
    ),
    "wasserstein": (lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean()),
    "relativistic": (
        lambda real, fake: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
    ),
}
PENALTIES = {"wasserstein": {"r1": 0.3}, "relativistic": {"r1": 0.5, "r2": 0.25}}


def half_squared_slope(weights, images, labels):
    """½ E‖∇D(x)‖² by finite differences over every pixel: D is piecewise linear in it."""
    pixels, size = images[0].size, 1e-5
    moves = size * np.eye(pixels).reshape(pixels, *images.shape[1:])
    squares = []
    for image, label in zip(images, labels, strict=True):
        up, down = (
            plain.discriminator(weights, image + side * moves, np.repeat(label, pixels), DOWNSAMPLE)
            for side in (1, -1)
        )
        squares.append(np.square((up - down) / (2 * size)).sum())
    return 0.5 * np.mean(squares)


class FirstStep:
    """The first step's updates one by one in numpy, from the state before it and the D after it."""

    def __init__(self, config, before, after, batch):
        self.of_discriminator, self.of_generator = FORMULAS[config.loss]
        self.r1, self.r2 = config.remedies.r1, config.remedies.r2
        self.paired = config.loss == "relativistic"
        d_key, g_key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(before.rng), 0))
        self.d_draws = [draw(jax.random.fold_in(d_key, index)) for index in range(2)]
        self.g_draw = draw(g_key)
        self.batch, self.strength = batch, config.optimizer.orthogonal_regularization
        self.generator = Network(before.generator.params, before.generator.u)
        d_params = flat(before.discriminator.params)
        first = Network(before.discriminator.params, before.discriminator.u)
        gradient = flat(after.discriminator.opt_state[0].before)
        rate, epsilon = config.optimizer.d_learning_rate, config.optimizer.epsilon
        # Adam's first update: both moments corrected, it moves by the rate along the gradient's sign.
        d_params = {
            path: p - rate * gradient[path] / (np.abs(gradient[path]) + epsilon)
            for path, p in d_params.items()
        }
        second = Network(nested(d_params), first.right)
        self.discriminators = [first, second, Network(after.discriminator.params, second.right)]

    def real(self, index):
        """Real images and labels of D update `index`."""
        images = self.batch["images"][index] / np.float32(127.5) - np.float32(1)
        return images, self.batch["labels"][index]

    def fake(self, draws, index, params=None):
        """Generated images and their labels; of a paired loss, labels are those of the real images."""
        z, labels = draws
        labels = self.real(index)[1] if self.paired else labels
        return plain.Generator(self.generator.weights(params))(z, labels), labels

    def logits(self, index, params=None):
        """Real and fake logits of D update `index`."""
        weights = self.discriminators[index].weights(params)
        both = self.real(index), self.fake(self.d_draws[index], index)
        return tuple(plain.discriminator(weights, *images, DOWNSAMPLE) for images in both)

    def d_loss(self, index, params=None):
        return self.of_discriminator(*self.logits(index, params))

    def d_loss_with_penalties(self, index, params=None):
        loss, weights = self.d_loss(index, params), self.discriminators[index].weights(params)
        if self.r1:
            loss += self.r1 * half_squared_slope(weights, *self.real(index))
        if self.r2:
            loss += self.r2 * half_squared_slope(weights, *self.fake(self.d_draws[index], index))
        return loss

    def g_loss(self, params=None, discriminator=2):
        weights = self.discriminators[discriminator].weights()
        fake = plain.discriminator(weights, *self.fake(self.g_draw, 1, params), DOWNSAMPLE)
        real = plain.discriminator(weights, *self.real(1), DOWNSAMPLE) if self.paired else None
        return self.of_generator(real, fake)

    def orthogonal_penalty(self, params=None):
        total = 0.0
        for path, leaf in (params or self.generator.params).items():
            if path.endswith("/kernel"):
                w = leaf.reshape(-1, leaf.shape[-1])
                total += np.square(w.T @ w * (1 - np.eye(w.shape[1]))).sum()
        return total


@pytest.fixture(scope="module")
def first(config, run):
    states, batches, _, _ = run
    return FirstStep(config, states[0], states[1], batches[0])


def assert_gradient(gradient, loss, params, rtol=1e-6, atol=1e-7):
    """Compares the slope along a random direction of every leaf with central differences."""
    gradient, rng = flat(gradient), np.random.default_rng(0)
    scale = np.sqrt(sum(np.square(leaf).sum() for leaf in gradient.values()))
    assert set(gradient) == set(params) and scale > 0.1
    for path in params:
        direction = rng.normal(size=params[path].shape)
        direction /= np.linalg.norm(direction)
        up, down = (loss(params | {path: params[path] + side * STEP * direction}) for side in (1, -1))
        slope = (up - down) / (2 * STEP)
        np.testing.assert_allclose(
            np.sum(gradient[path] * direction), slope, rtol=rtol, atol=atol * scale, err_msg=path
        )


@pytest.mark.parametrize("index", [0, 1])
def test_gradient_of_a_discriminator_update_equals_finite_differences_in_every_parameter(run, first, index):
    kept = run[0][1].discriminator.opt_state[0]
    assert_gradient(
        kept[1 - index], lambda params: first.d_loss(index, params), first.discriminators[index].params
    )


def test_gradient_of_a_generator_update_equals_finite_differences_in_every_parameter(run, first):
    def loss(params):
        return first.g_loss(params) + first.strength * first.orthogonal_penalty(params)

    assert_gradient(run[0][1].generator.opt_state[0].last, loss, first.generator.params)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [name for name in FORMULAS if name != "hinge"])
def test_one_update_with_every_other_loss_equals_the_reference(loss):
    penalties = {f"remedies.{name}": gamma for name, gamma in PENALTIES.get(loss, {}).items()}
    config = make_config(loss=loss, **penalties)
    before, batch = make_state(config, keeping_optimizers(config.optimizer)), make_batch(config, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(update_module, "make_optimizers", keeping_optimizers)
        after, metrics = jax.jit(make_update(config))(before, batch)
    after = jax.tree.map(np.asarray, after)
    first = FirstStep(config, before, after, batch)

    # Finite differences of finite differences, with a penalty, are good to fewer digits.
    tolerances = {"rtol": 1e-3, "atol": 1e-4} if penalties else {}
    kept = after.discriminator.opt_state[0]
    for index, gradient in enumerate((kept.before, kept.last)):
        params = first.discriminators[index].params
        assert_gradient(gradient, lambda p, i=index: first.d_loss_with_penalties(i, p), params, **tolerances)
    assert_gradient(
        after.generator.opt_state[0].last,
        lambda p: first.g_loss(p) + first.strength * first.orthogonal_penalty(p),
        first.generator.params,
    )
    expected = {"d_loss": np.mean([first.d_loss(index) for index in range(2)]), "g_loss": first.g_loss()}
    # Real images are float32 in the step, so logits are good to about 1e-7, and so is a difference of means.
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-7, atol=3e-7, err_msg=name)
    for name, images in (("r1", first.real), ("r2", lambda index: first.fake(first.d_draws[index], index))):
        if name in PENALTIES.get(loss, {}):
            values = [
                half_squared_slope(first.discriminators[index].weights(), *images(index))
                for index in range(2)
            ]
            np.testing.assert_allclose(metrics[name], np.mean(values), rtol=1e-5)


def test_metrics_are_the_losses_mean_logits_and_gradient_norms_of_the_step(run, first):
    metrics, kept = run[2][0], run[0][1].discriminator.opt_state[0]
    logits = [first.logits(index) for index in range(2)]
    expected = {
        "d_loss": np.mean([first.d_loss(index) for index in range(2)]),
        "d_real": np.mean([real.mean() for real, _ in logits]),
        "d_fake": np.mean([fake.mean() for _, fake in logits]),
        "d_gradient_norm": np.mean(
            [np.sqrt(sum(np.square(leaf).sum() for leaf in flat(gradient).values())) for gradient in kept]
        ),
        "g_loss": first.g_loss(),
        "orthogonal_penalty": first.orthogonal_penalty(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-7, err_msg=name)


def test_generators_update_sees_the_discriminator_after_its_updates(run, first):
    losses = [first.g_loss(discriminator=index) for index in range(3)]
    np.testing.assert_allclose(run[2][0]["g_loss"], losses[2], rtol=1e-9)
    assert min(abs(losses[2] - losses[0]), abs(losses[2] - losses[1])) > 1e-3


def test_every_update_of_a_step_and_every_step_draws_fresh_latents(run, first):
    assert len({z.tobytes() for z, _ in [*first.d_draws, first.g_draw]}) == 3
    states, batches, metrics, step = run
    _, later = step(states[0].replace(step=np.int32(7)), batches[0])
    assert abs(later["g_loss"] - metrics[0]["g_loss"]) > 1e-3


def test_generators_vectors_advance_once_a_step_discriminators_at_each_update_and_for_the_generator(
    run, first
):
    state = run[0][1]
    assert_same(state.generator.u, first.generator.right, 1e-12)
    assert_same(state.discriminator.u, first.discriminators[2].right, 1e-9)


def test_three_steps_replay_adam_with_each_networks_own_rate(config, run):
    states, _, _, _ = run
    settings = config.optimizer
    for name, rate in (("generator", settings.g_learning_rate), ("discriminator", settings.d_learning_rate)):
        params = flat(getattr(states[0], name).params)
        squares, count = dict.fromkeys(params, 0.0), 0
        for state in states[1:]:
            network = getattr(state, name)
            kept = network.opt_state[0]
            for gradient in [kept.last] if name == "generator" else [kept.before, kept.last]:
                count += 1
                for path, g in flat(gradient).items():
                    squares[path] = settings.beta2 * squares[path] + (1 - settings.beta2) * g**2
                    root = np.sqrt(squares[path] / (1 - settings.beta2**count))
                    params[path] = params[path] - rate * g / (root + settings.epsilon)
            assert_same(flat(network.params), params, 1e-11)


def test_average_is_a_copy_until_its_start_step_then_decays(config, run):
    states, _, _, _ = run
    assert config.ema.start_step == 1
    average = flat(states[1].generator.params)
    assert_same(flat(states[1].ema_params), average, 0)
    for state in states[2:]:
        weights = flat(state.generator.params)
        average = {path: 0.9 * average[path] + 0.1 * weights[path] for path in average}
        assert_same(flat(state.ema_params), average, 1e-13)


def test_step_counts_and_leaves_the_runs_key_alone(run):
    states, _, _, _ = run
    assert [int(state.step) for state in states] == [0, 1, 2, 3]
    assert all((state.rng == states[0].rng).all() for state in states)


@pytest.mark.slow
def test_unrolled_updates_give_the_same_step_as_the_loop(config, run):
    states, _, metrics, _ = run
    unrolled = jax.jit(make_update(config, unroll=True))
    state, row = unrolled(make_state(config, make_optimizers(config.optimizer)), make_batch(config, 0))
    for name in ("generator", "discriminator"):
        assert_same(getattr(state, name).params, getattr(states[1], name).params, 1e-9)
        assert_same(getattr(state, name).u, getattr(states[1], name).u, 1e-9)
    assert_same(state.ema_params, states[1].ema_params, 1e-9)
    assert_same(row, metrics[0], 1e-9)
