"""BigGAN and BigGAN-deep in JAX and Flax (Brock, Donahue, Simonyan 2019, arXiv 1809.11096)."""
