"""The demo: a small BigGAN that learns Fashion-MNIST's ten garments on a laptop's CPU within minutes.

It has all parts of the full models (shared embedding, hierarchical latents, projection, spectral norm,
orthogonal regularisation, averaged weights), in networks that are narrower at higher resolutions, with
learning rates for a short run. It learns from 8,000 of the 10,000 official test images, which come with the
package, on every machine. The images of 28×28 grey pixels are padded to 32×32 and copied to three channels.
"""

from ml_collections import ConfigDict

from biggan_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the config."""
    config = default_config()
    config.batch_size = 32
    config.total_steps = 3_000
    config.d_steps = 1
    config.log_every = 10
    config.sample_every = 200
    config.checkpoint_every = 400

    config.model.resolution = 32
    config.model.channels = 16
    config.model.generator_channels = (8, 4, 2, 1)  # 4×4, 8×8, 16×16, 32×32
    config.model.discriminator_channels = (1, 2, 4, 8)  # 16×16, 8×8, 4×4, 4×4
    config.model.num_classes = 10
    config.model.latent_dim = 64  # 4 chunks of 16
    config.model.class_embedding_dim = 32
    config.model.attention_resolution = 0

    config.optimizer.g_learning_rate = 4e-4
    config.optimizer.d_learning_rate = 8e-4
    config.ema.decay = 0.998
    config.ema.start_step = 200

    config.data.source = "fashion_mnist_10k"
    config.data.random_flip = False  # all shoes point to the left
    config.sampling.standing_passes = 20
    return config
