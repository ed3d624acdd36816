"""Evaluation: feature networks, scores as pure functions of arrays, and the report."""
