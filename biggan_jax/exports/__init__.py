"""Exports: a trained generator in a folder of its own, and published weights converted to one."""
