"""Readers for the published weights of other packages."""
