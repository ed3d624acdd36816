"""What every room stands on: the command line, files and buckets, processes, replicas, progress, HTML."""
