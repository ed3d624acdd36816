"""Exports: a trained generator as a folder of its own, and published weights of other packages as one."""
