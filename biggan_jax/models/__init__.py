"""Networks: pure functions of parameters and inputs that know nothing of training, data or devices."""
