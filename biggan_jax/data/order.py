"""Computes the example at each position of a run, and whether it is mirrored, from (seed, position) alone.

Positions count over the whole run: 0 … N - 1 are the first epoch of N examples, and batches may cross epochs.
The raw stream of Philox is the same in each release of NumPy, so a run can continue after an upgrade.
(TensorFlow's stateless `index_shuffle` is unsuitable: with its four rounds the orders of neighbouring epochs
correlate, and it has one seed for all indices.)
"""

import functools

import numpy as np

_FLIPS = 0  # in the key; the permutation of an epoch has epoch + 1
_BITS_PER_COUNTER = 256


def examples(seed: int, positions: np.ndarray, num_examples: int) -> np.ndarray:
    """Returns the numbers of the examples at some positions; each example occurs once in an epoch.

    Args:
      seed: Seed of the order.
      positions: i64 of any shape.
      num_examples: Number of examples.

    Returns:
      i64 of the shape of `positions`.
    """
    epochs, places = np.divmod(positions, num_examples)
    numbers = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        numbers[here] = permutation(seed, int(epoch), num_examples)[places[here]]
    return numbers


@functools.lru_cache(maxsize=4)  # a batch can cross epochs, and two threads read ahead
def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the random order of an epoch, i64[num_examples], a permutation of 0 … num_examples - 1."""
    return np.argsort(_philox(seed, epoch + 1).random_raw(num_examples), kind="stable")


def flips(seed: int, start: int, count: int) -> np.ndarray:
    """Returns which images at positions start … start + count - 1 are mirrored, bool[count]."""
    counter, skipped = divmod(start, _BITS_PER_COUNTER)
    counters = -(-(skipped + count) // _BITS_PER_COUNTER)
    words = _philox(seed, _FLIPS, counter).random_raw(4 * counters)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    return bits[skipped : skipped + count].astype(bool)


def _philox(seed: int, stream: int, counter: int = 0) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed % 2**64, stream], np.uint64), counter=counter)
