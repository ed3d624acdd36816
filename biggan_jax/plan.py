"""Plans a run on TPUs: whether it fits into their memory, how fast it is, and how long it takes.

Examples:
  python -m biggan_jax.plan --config=configs/imagenet128.py --topology=v3:8x8
  python -m biggan_jax.plan --config=configs/imagenet128.py --topology=v4:4x4x4,v5e:8x8,v5p:4x4x4,v6e:8x8
  python -m biggan_jax.plan --config=configs/imagenet512.py --topology=v3:16x16 --json \\
      --config.micro_batches=2

A topology is a generation of TPUs and the chips along each side of the slice. No TPU is needed: the program
of training itself (all D updates, the G update, the average, mapped over the devices as the config says) is
compiled by the real compiler for TPUs, on this machine's CPU; at 128 to 512 pixels that takes minutes for
each topology. The compiler is libtpu: pip install '.[tpu]'.

What is printed is an estimate: the compiler plans memory and estimates the cycles of each operation, and
nothing is run. TFLOP are those of the convolutions and matrix products as computed, with what
rematerialisation does again. A device, and so a replica, is a core of v2 and v3 and a chip of the others.

With --json, one object a topology, each on a line when it is done. Exit codes: 0, whether it fits or not, 2
an error that you can put right, 130 after Ctrl-C.
"""

from collections.abc import Sequence

from absl import flags

from biggan_jax.runtime import cli

CONFIG = cli.define_config()
TOPOLOGY = flags.DEFINE_list(
    "topology",
    None,
    "a slice of TPUs, such as v3:8x8 (128 cores), or several with commas between them",
    required=True,
)
JSON = flags.DEFINE_bool("json", False, "print one JSON object a topology instead of a table")


def main(argv: Sequence[str]) -> None:
    del argv
    from rich.console import Console  # here: --help and a misspelt flag need not wait for JAX

    from biggan_jax.config import validate
    from biggan_jax.planning import report
    from biggan_jax.planning.estimate import make_plan
    from biggan_jax.planning.slices import open_slice
    from biggan_jax.runtime.progress import wait_for

    config, plans = CONFIG.value, []
    pods = [open_slice(name) for name in TOPOLOGY.value or [""]]
    for pod in pods:  # all of them before the first is compiled
        validate(config, replicas=len(pod.devices))
    for number, pod in enumerate(pods, start=1):
        name = f"{pod.name} ({number} of {len(pods)})"
        plans.append(wait_for(name, lambda tell, pod=pod: make_plan(config, pod, tell)))
        if JSON.value:
            print(report.as_json(plans[-1]), flush=True)
    if not JSON.value:
        report.show(Console(highlight=False), config, plans)


if __name__ == "__main__":
    cli.run(main)
