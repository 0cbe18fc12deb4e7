"""Training step and inference of the PyTorch model, ready to be timed beside the JAX ones."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.torch_model import SeisMoLLM
from benchmarks.torch_seist_model import SIZES, SeisT

TARGETS = {  # of a task, as the batches of this project name them
    "picking": "labels",
    "polarity": "polarity",
    "magnitude": "magnitude",
    "back_azimuth": "back_azimuth_deg",
    "distance": "distance_km",
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def begin(threads: int) -> dict[str, Any]:
    """Settings that a good user makes; says which."""
    torch.set_num_threads(threads)
    # TF32 where the GPU has it, as JAX does by default. CPUs have none.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    return {
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "bfloat16": "torch.autocast",
    }


def _autocast(precision: str) -> contextlib.AbstractContextManager:
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE, getattr(torch, precision))


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _tensor(array: np.ndarray) -> torch.Tensor:
    if array.ndim == 3:  # ours are channels last
        array = array.swapaxes(1, 2)
    return torch.tensor(np.ascontiguousarray(array, np.float32), device=DEVICE)


def _network(model: str, task: str) -> Any:
    return (SeisT(model, task) if model in SIZES else SeisMoLLM(task)).to(DEVICE)


def _first(run: Callable[[], None]) -> dict[str, float]:
    """The first call, in which `torch.compile` compiles."""
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    run()
    figures = {"first_call_s": time.perf_counter() - begun}
    if DEVICE == "cuda":
        figures["memory_bytes"] = torch.cuda.max_memory_allocated()
    return figures


def training(
    model: str, task: str, batch: dict[str, np.ndarray], precision: str, compiled: bool
) -> tuple[Callable[[], None], dict[str, float]]:
    """Forward, loss, backward and Adam."""
    torch._dynamo.reset()
    network = _network(model, task).train()
    loss_of = network.task.loss
    learn = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learn, lr=1e-4, fused=DEVICE == "cuda")
    x, target = _tensor(batch["waveform"]), _tensor(batch[TARGETS[task]])
    forward: Any = torch.compile(network) if compiled else network

    def run() -> None:
        with _autocast(precision):
            output = forward(x)
        loss = loss_of(output, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        _wait()

    return run, _first(run)


def inference(
    model: str, task: str, batch: dict[str, np.ndarray], precision: str, compiled: bool
) -> tuple[Callable[[], None], dict[str, float]]:
    """The forward pass."""
    torch._dynamo.reset()
    network = _network(model, task).eval()
    x = _tensor(batch["waveform"])
    forward: Any = torch.compile(network) if compiled else network

    def run() -> None:
        with torch.inference_mode(), _autocast(precision):
            forward(x)
        _wait()

    return run, _first(run)


MODES = {"training": training, "inference": inference}
