"""One process of several that extract features by Inception; test_several_processes.py starts it.

extract_in_processes.py OUTPUT ADDRESS PROCESSES PROCESS_ID
"""

import sys

import jax
import numpy as np
from inception_state import random_state
from rich.console import Console

from biggan_jax.evaluation.image_sets import ImagesInMemory
from biggan_jax.evaluation.networks import inception_weights
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import from_inception
from biggan_jax.runtime import processes

if __name__ == "__main__":
    output, address, count, index = sys.argv[1:]
    if int(count) > 1:
        processes.join(address, int(count), int(index))
    with processes.fail_fast():
        weights = inception_weights.Weights(
            inception_weights.convert(random_state(seed=0), "random"), "0" * 64
        )
        images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3)).astype(np.uint8)
        network = from_inception(weights, batch_size=2 * len(jax.local_devices()))
        extracted = extract_features(
            network, ImagesInMemory(images, np.arange(7)), "images", Console(quiet=True)
        )
        np.savez(
            f"{output}/extracted-{index}.npz",
            features=extracted.features,
            logits=extracted.logits,
            labels=extracted.labels,
        )
