"""What tests of kernels run in processes of their own: `python kernel_processes.py pages|blas`.

pages: with TINYGRAD_ZOO_VECTOR_BYTES as it is set, products of every tail, and with `conv` convolutions, whose arrays
touch pages that kill the process. blas: a training step, and what the threads of NumPy's BLAS did meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

TASKS = Path("/proc/self/task")


def pages(*also: str) -> None:
    from kernel_checks import check_batch, check_convolutions, check_products, check_weight_gradient, check_winograd
    from kernel_memory import Pages
    from tinygrad_zoo.kernels.gemm import cpu

    lanes = cpu.VECTOR // 4
    for at_end in (True, False):
        places, rng = Pages(at_end), np.random.default_rng(0)
        check_products(cpu, places, np.float32, crossed=True)
        if "conv" in also:
            from tinygrad_zoo.kernels.conv import cpu as conv

            for n in range(2 * lanes + 2):
                check_batch(cpu, places, rng, 2, n % 7, n, 5, layouts=("C", "F"))
                check_weight_gradient(cpu, places, rng, n, n % 9, n % 5)
            check_convolutions(conv, places, lanes)
            check_winograd(conv, places, lanes)
    print(f"no access outside, {cpu.VECTOR} bytes")


def _nanoseconds(tasks: list[str]) -> int:
    """The processor time that these threads have used."""
    return sum(int((TASKS / task / "schedstat").read_text().split()[0]) for task in tasks)


def blas() -> None:
    """Prints the nanoseconds of the BLAS's threads in our step, and in a product of NumPy's after it."""
    workers = [task for task in os.listdir(TASKS) if int(task) != os.getpid()]  # NumPy's import starts them

    import tinygrad_zoo as tz
    from tinygrad_zoo import nn, ops, optim

    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, rng=rng), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, rng=rng), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, groups=16, rng=rng), nn.Flatten(), nn.Linear(16 * 13 * 13, 500, rng=rng),
        nn.ReLU(), nn.Linear(500, 10, rng=rng),
    )  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    x = tz.tensor(rng.standard_normal((200, 1, 32, 32)).astype(np.float32))
    labels = tz.tensor(rng.integers(0, 10, 200))

    def step() -> None:
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(x), labels)
        weight = model[6].weight  # (500, 2704)
        loss += ops.einsum("ij,kj->ik", weight, weight).mean() + ops.tensordot(weight, weight.T, dims=1).mean()
        loss += ops.cdist(weight[:200], weight[200:]).mean()
        loss.backward()
        optimizer.step()

    step()
    time.sleep(0.3)  # threads that wait for work at first fall asleep
    before = _nanoseconds(workers)
    step()
    between = _nanoseconds(workers)
    a = np.ones((1000, 1000), np.float32)
    a @ a
    print(between - before, _nanoseconds(workers) - between)


if __name__ == "__main__":
    {"pages": pages, "blas": blas}[sys.argv[1]](*sys.argv[2:])
