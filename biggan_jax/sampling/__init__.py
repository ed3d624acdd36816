"""Sampling: latents, truncation, standing statistics, the sampler, its sheets and animations."""
