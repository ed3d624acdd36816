"""Peak arithmetic of accelerators, in one table: dense TFLOP/s in bfloat16 of one JAX device, and its source.

A JAX device is a core of TPU v2 and v3, and a whole chip of all others.
"""

import re
from typing import NamedTuple

NVIDIA_H100 = "NVIDIA H100 Tensor Core GPU, data sheet"
GOOGLE = "cloud.google.com/tpu/docs"


class Chip(NamedTuple):
    """The peak of a kind of device.

    Attributes:
      peak_tflops: 10¹² floating-point operations a second, dense, in bfloat16.
      device_kind: Regular expression for JAX's `device_kind`.
      source: Publication that gives the peak; for TPU v2 and v3, half of the chip's.
    """

    peak_tflops: float
    device_kind: str
    source: str


# The first pattern that matches a device's kind counts.
CHIPS = {
    "H200": Chip(989.0, "H200", "NVIDIA H200 Tensor Core GPU, data sheet"),
    "H100 PCIe": Chip(756.0, "H100 PCIe", NVIDIA_H100),
    "H100 NVL": Chip(835.0, "H100 NVL", NVIDIA_H100),
    "H100": Chip(989.0, "H100", NVIDIA_H100),
    "A100": Chip(312.0, "A100", "NVIDIA A100 Tensor Core GPU, data sheet"),
    "v2": Chip(23.0, "TPU v2", "Jouppi et al. 2020, A domain-specific supercomputer for training DNNs"),
    "v3": Chip(61.5, "TPU v3", "Jouppi et al. 2020, A domain-specific supercomputer for training DNNs"),
    "v4": Chip(275.0, "TPU v4$", "Jouppi et al. 2023, TPU v4: an optically reconfigurable supercomputer"),
    "v5e": Chip(197.0, "TPU v5 lite|TPU v5e", GOOGLE),
    "v5p": Chip(459.0, "TPU v5", GOOGLE),
    "v6e": Chip(918.0, "TPU v6", GOOGLE),
}


def peak_tflops(device_kind: str) -> float | None:
    """Returns the peak of a device in TFLOP/s.

    Args:
      device_kind: JAX's name for the device, such as "TPU v4".

    Returns:
      The peak, or None for a device that is not in the table.
    """
    return next(
        (chip.peak_tflops for chip in CHIPS.values() if re.search(chip.device_kind, device_kind)), None
    )
