"""Readers of the published weights of other packages."""
