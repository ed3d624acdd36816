"""What a run will need of a pod of TPUs, from the real compiler, without any TPU."""
