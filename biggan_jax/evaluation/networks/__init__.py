"""Feature networks: Inception-v3, the classifier of a data set, and functions of the user."""
