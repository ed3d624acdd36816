"""Which example stands at which place of a run, and which way round: functions of (seed, position) alone.

Places are numbered over the whole run: 0 … N - 1 are the first epoch of N examples, and so on across the
borders of batches. Philox's raw stream is the same in every release of NumPy, so a run can be resumed after
an upgrade. (TensorFlow's stateless `index_shuffle` won't do: with its four rounds the orders of neighbouring
epochs correlate, and it takes no seed for each index.)
"""

import functools

import numpy as np

_FLIPS = 0  # in the key where the permutation of an epoch has epoch + 1
_BITS_PER_COUNTER = 256


def examples(seed: int, positions: np.ndarray, num_examples: int) -> np.ndarray:
    """Numbers of the examples at `positions`, i64 of any shape: each example once an epoch, in its order."""
    epochs, places = np.divmod(positions, num_examples)
    numbers = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        numbers[here] = permutation(seed, int(epoch), num_examples)[places[here]]
    return numbers


@functools.lru_cache(maxsize=4)  # a batch may reach into the next epoch, and two threads read ahead
def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """A random order of 0 … num_examples - 1, i64[num_examples]."""
    return np.argsort(_philox(seed, epoch + 1).random_raw(num_examples), kind="stable")


def flips(seed: int, start: int, count: int) -> np.ndarray:
    """Whether each of the images at positions start … start + count - 1 is mirrored, bool[count]."""
    counter, skipped = divmod(start, _BITS_PER_COUNTER)
    counters = -(-(skipped + count) // _BITS_PER_COUNTER)
    words = _philox(seed, _FLIPS, counter).random_raw(4 * counters)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    return bits[skipped : skipped + count].astype(bool)


def _philox(seed: int, stream: int, counter: int = 0) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed % 2**64, stream], np.uint64), counter=counter)
