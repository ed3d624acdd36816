"""Sweeps that come with the package: each file defines `BASE_CONFIG` and `sweep()`."""
