"""The losses of D and G as functions of D's logits; `config.loss` names one.

A new loss is its functions and one entry of `LOSSES`. The update, the labels on plots and the collapse rule
read all that they need from the entry.
"""

import dataclasses
from collections.abc import Callable

import jax
from jax.nn import relu, softplus
from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Loss:
    """A pair of losses, each a function of logits `[N]` to a scalar.

    Attributes:
      label: Name on plots.
      discriminator: D's loss, a function of the real and the fake logits.
      generator: G's loss, a function of the fake logits; of the fake and the real logits if `paired`.
      paired: Whether the losses compare each generated image with a real one. Then both images of a pair have
        the same label, and G's loss takes real logits too.
      non_negative: Whether D's loss has its minimum at 0, where D separates all images. Only such a loss can
        be compared with the bounds `collapse.d_loss_floor` and `collapse.d_loss_ceiling`.
      remedies: Fields of `config.remedies` without which training need not converge.
    """

    label: str
    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[..., jax.Array]
    paired: bool = False
    non_negative: bool = True
    remedies: tuple[str, ...] = ()


def discriminator_hinge(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Returns E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))] (Miyato et al. 2018; Brock et al. 2019)."""
    return relu(1.0 - real_logits).mean() + relu(1.0 + fake_logits).mean()


def discriminator_non_saturating(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Returns −E[log σ(D(x))] − E[log(1 − σ(D(G(z))))] (Goodfellow et al. 2014, equation 1).

    With softplus(t) = log(1 + eᵗ), this is E[softplus(−D(x))] + E[softplus(D(G(z)))].
    """
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def generator_non_saturating(fake_logits: jax.Array) -> jax.Array:
    """Returns −E[log σ(D(G(z)))] = E[softplus(−D(G(z)))] (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_logits).mean()


def discriminator_wasserstein(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Returns E[D(G(z))] − E[D(x)] (Arjovsky et al. 2017, equation 2; D is their critic f)."""
    return fake_logits.mean() - real_logits.mean()


def negative_mean_logit(fake_logits: jax.Array) -> jax.Array:
    """Returns −E[D(G(z))], G's loss beside the hinge and beside the Wasserstein loss."""
    return -fake_logits.mean()


def discriminator_relativistic(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Returns E[softplus(D(G(z)) − D(x))] over pairs (Huang et al. 2024, equation 2; RpGAN).

    It need not converge without zero-centred penalties at both kinds of images: `remedies.r1` and
    `remedies.r2`.
    """
    return softplus(fake_logits - real_logits).mean()


def generator_relativistic(fake_logits: jax.Array, real_logits: jax.Array) -> jax.Array:
    """Returns E[softplus(D(x) − D(G(z)))] over pairs (Huang et al. 2024, equation 2; RpGAN)."""
    return softplus(real_logits - fake_logits).mean()


LOSSES = {
    "hinge": Loss("Hinge", discriminator_hinge, negative_mean_logit),
    "non_saturating": Loss("Non-saturating", discriminator_non_saturating, generator_non_saturating),
    # D's loss is an estimated distance, negative in healthy runs and of any scale: 0 is no floor.
    "wasserstein": Loss("Wasserstein", discriminator_wasserstein, negative_mean_logit, non_negative=False),
    "relativistic": Loss(
        "Relativistic",
        discriminator_relativistic,
        generator_relativistic,
        paired=True,
        remedies=("r1", "r2"),
    ),
}


def warn_of_convergence(config: ConfigDict) -> str | None:
    """Returns a warning if the loss lacks penalties without which training need not converge.

    Args:
      config: The whole config.
    """
    missing = [name for name in LOSSES[config.loss].remedies if not config.remedies[name]]
    if not missing:
        return None
    return (
        f"warning: config.loss = {config.loss!r} need not converge without a penalty: set "
        f"{' and '.join(f'config.remedies.{name}' for name in missing)} (Huang et al. 2024)"
    )
