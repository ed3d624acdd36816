"""BigGAN on CIFAR-10 at 32×32 (Brock et al. 2019, appendix C.2: FID 14.73, IS 9.22).

The settings are those of the common recipe for the authors' PyTorch release: batch 50, four discriminator
steps, one learning rate for both networks, gains and biases by class in each batch norm, an undivided latent,
no attention. Orthogonal regularisation is off, as in that recipe: it serves truncation, which CIFAR hardly
needs. 125,000 generator steps with 4 batches of 50 images each are 500 epochs of the 50,000 images.
"""

from ml_collections import ConfigDict

from biggan_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the config."""
    config = default_config()
    config.batch_size = 50
    config.total_steps = 125_000
    config.d_steps = 4

    config.model.architecture = "biggan"
    config.model.resolution = 32
    config.model.channels = 64
    config.model.num_classes = 10
    config.model.latent_dim = 128
    config.model.shared_embedding = False
    config.model.hierarchical_latents = False
    config.model.attention_resolution = 0
    config.model.dtype = "float32"

    config.optimizer.g_learning_rate = 2e-4
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.orthogonal_regularization = 0.0
    config.ema.decay = 0.9999
    config.ema.start_step = 1_000

    config.data.source = "tfds:cifar10"
    return config
