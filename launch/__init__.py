"""Launchers: they start commands of biggan_jax on one machine, a cluster or TPU pods, and restart them."""
