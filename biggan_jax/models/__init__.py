"""The networks: pure functions of parameters and inputs; they know nothing of training, data or devices."""
