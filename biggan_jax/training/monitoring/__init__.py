"""What a run shows of itself: metrics, curves, samples, singular values and the collapse watch."""
