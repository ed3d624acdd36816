"""Names of the mappings of a function over replicas, readable without JAX."""

MAPPINGS = ("pmap", "shard_map")
