"""Known accelerators: what their datasheets state, and what an hour of one costs.

Peaks are dense (without structured sparsity), in TFLOP/s: 16-bit products added up in float32, and
float32 outside of matrix units. Memory is the datasheet's, in GB = 10^9 bytes; boards of 80 GB
offer 80 GiB or a little less. Power is that of the board (TDP). From the makers' datasheets: NVIDIA
A100 (1758950-r4), H100 and H200 Tensor Core GPU (a half of the figures with sparsity), L40S,
RTX 6000 Ada (a quarter of its FP8 figure with sparsity), Ada whitepaper (RTX 4090, products added
up in float32), HGX B200 (180 of its 192 GB are usable), AMD Instinct MI300X.

Prices are in US dollars an hour and accelerator, at the low end of what is listed: RunPod in March
2026, MI300X in 2025, A100 40 GB of Lambda in May 2026; A800 has the price of the A100, from which
it differs in its links only. Large clouds ask two to three times as much for the same board, and
all prices move by tens of percent a year: state `price_per_hour`.

CPU stands for a server of 32 cores at 2 GHz with 512-bit units; state your own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accelerator:
    """Datasheet figures of one accelerator."""

    peak_tflops: float
    """16-bit matrix products, dense."""
    peak_fp32_tflops: float
    memory_gb: float
    watts: float
    price_per_hour: float
    """US dollars."""


ACCELERATORS = {
    "A100-40G": Accelerator(312, 19.5, 40, 400, 1.48),
    "A100-80G": Accelerator(312, 19.5, 80, 400, 1.39),
    "A800-80G": Accelerator(312, 19.5, 80, 400, 1.39),
    "H100-SXM": Accelerator(989, 67, 80, 700, 2.69),
    "H200": Accelerator(989, 67, 141, 700, 3.59),
    "B200": Accelerator(2250, 80, 180, 1000, 5.98),
    "RTX-6000-Ada": Accelerator(364, 91.1, 48, 300, 0.77),
    "RTX-4090": Accelerator(165, 82.6, 24, 450, 0.34),
    "L40S": Accelerator(362, 91.6, 48, 350, 0.79),
    "MI300X": Accelerator(1307, 163.4, 192, 750, 2.49),
    "CPU": Accelerator(4.0, 4.0, 256, 350, 1.50),
}
