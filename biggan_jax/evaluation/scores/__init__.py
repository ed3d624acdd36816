"""Scores: pure functions of features, logits and labels."""
