"""Letting go of a pipeline whose threads are in Python: each script here hangs if that deadlocks."""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import gc, io, time, weakref
import numpy as np
from PIL import Image
from biggan_jax.data import batches
from biggan_jax.data.records import RecordSource

picture = io.BytesIO()
Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture, format="PNG")

class Slow:
    reads = 0

    def __getitem__(self, number):
        Slow.reads += 1
        for _ in range(4):
            time.sleep(0.005)  # the reading thread needs Python's lock after each
        return broken if broken and Slow.reads > 20 else picture.getvalue()

collecting = False

def parse(record):
    if collecting:
        gc.collect()
    return record, 0

def open_batches():
    source = RecordSource(
        name="slow", description="", num_examples=100, class_names=("a",), resolution=8,
        records=Slow(), parse=parse,
    )
    return batches(source, batch_size=4, d_steps=2, seed=0, random_flip=True)

broken = b""
"""

WAYS = {
    "by the garbage collector, in one of its own threads": """
        gc.disable()
        stream = open_batches(); next(stream)
        cycle = [stream]; cycle.append(cycle)
        del stream, cycle
        collecting = True
        time.sleep(1)
        collecting = False
        time.sleep(1)
        class Thing: pass
        thing = Thing(); thing.itself = thing; alive = weakref.ref(thing)
        del thing
        gc.collect()
        assert alive() is None  # the collector does not hang in that thread
    """,
    "at exit": "stream = open_batches(); next(stream)",
    "before exit, in use and broken": """
        stream = open_batches(); next(stream); del stream
        broken = b"no picture"
        stream = open_batches()
        try:
            while True:
                next(stream)
        except ValueError:
            del stream
    """,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pipeline_in_the_midst_of_reading_can_be_let_go(way):
    script = SCRIPT + textwrap.dedent(WAYS[way]) + "\nprint('done')"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "done"
    assert "ignored" not in process.stderr and "Error" not in process.stderr
