"""Training: the step as one pure function, the run that repeats it, and what the run shows of itself."""
