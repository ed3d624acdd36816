"""Training: the step as one pure function, the run that repeats it, and the monitoring of the run."""
