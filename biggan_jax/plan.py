"""Plans a run on TPUs: whether it fits into memory, how fast it is, and how long it takes.

  python -m biggan_jax.plan --config=imagenet128 --topology=v3:8x8
  python -m biggan_jax.plan --config=imagenet128 --topology=v4:4x4x4,v5e:8x8,v5p:4x4x4,v6e:8x8
  python -m biggan_jax.plan --config=imagenet512 --topology=v3:16x16 --json --config.micro_batches=2

A topology is a generation of TPUs and the number of chips along each side of the slice. The command needs no
TPU: the compiler for TPUs compiles the training program (all D updates, the G update and the weight average,
mapped over the devices as the config says) on the CPU of this machine. At 128 to 512 pixels that takes
minutes for each topology. The compiler comes with libtpu: pip install '.[tpu]'.

The results are estimates: the compiler plans memory and estimates the cycles of each operation, and nothing
is run. TFLOP are those of convolutions and matrix products as computed, with the blocks that
rematerialisation recomputes. A device, and so a replica, is a core of v2 and v3 and a chip of later
generations.

With --json the command prints one JSON object for each topology, each on a line as soon as it is computed.

Exit codes: 0 whether the run fits or not; 2 a user error; 130 after Ctrl-C.
"""

from collections.abc import Sequence

from absl import flags

from biggan_jax.runtime import cli

CONFIG = cli.define_config()
TOPOLOGY = flags.DEFINE_list(
    "topology",
    None,
    "Slice of TPUs, such as v3:8x8 (128 cores), or several, separated by commas",
    required=True,
)
JSON = flags.DEFINE_bool("json", False, "Print one JSON object for each topology instead of a table")


def main(argv: Sequence[str]) -> None:
    """Prints the plan of each topology."""
    del argv
    from rich.console import Console  # here: --help and a misspelt flag need not wait for JAX

    from biggan_jax.config import validate
    from biggan_jax.planning import report
    from biggan_jax.planning.estimate import make_plan
    from biggan_jax.planning.slices import open_slice
    from biggan_jax.runtime.progress import wait_for

    config, plans = CONFIG.value, []
    slices = [open_slice(name) for name in TOPOLOGY.value or [""]]
    for tpu_slice in slices:  # all of them before the first is compiled
        validate(config, replicas=len(tpu_slice.devices))
    for number, tpu_slice in enumerate(slices, start=1):
        name = f"{tpu_slice.name} ({number} of {len(slices)})"
        plans.append(wait_for(name, lambda tell, tpu_slice=tpu_slice: make_plan(config, tpu_slice, tell)))
        if JSON.value:
            print(report.as_json(plans[-1]), flush=True)
    if not JSON.value:
        report.show(Console(highlight=False), config, plans)


if __name__ == "__main__":
    cli.run(main)
