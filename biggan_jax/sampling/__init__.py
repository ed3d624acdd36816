"""From latents to images: latents, truncation, standing statistics, the sampler and its sheets."""
