"""Monitoring of a run: metrics, curves, sheets of samples, singular values and the collapse rule."""
