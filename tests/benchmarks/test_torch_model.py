"""The PyTorch model of the benchmark computes what was recorded from the PyTorch original."""

import numpy as np
import pytest

from tests.golden_files import relative_difference, thin
from tests.models import tiny

torch = pytest.importorskip("torch")
from benchmarks import torch_model  # noqa: E402

SIZES = torch_model.Sizes(
    width=64, heads=4, positions=256, channels=(8, 12, 16), head_channels=(24, 28, 32)
)


@pytest.mark.parametrize("length", [997, 1024])
@pytest.mark.parametrize("task", tiny.TASKS)
def test_output_is_the_recorded_one(task: str, length: int) -> None:
    golden = tiny.golden(task)
    model = torch_model.SeisMoLLM(task, SIZES).eval()
    torch_model.load(model, tiny.state_dict(task))
    with torch.inference_mode():
        found = model(torch.tensor(golden[f"io/L{length}/x"])).numpy()
    names = ("out0", "out1") if task == "back_azimuth" else ("out",)
    parts = [golden[f"io/L{length}/{name}"].reshape(-1) for name in names]
    assert relative_difference(thin(found, 500), np.stack(parts, -1).reshape(-1)) < 1e-4


@pytest.mark.parametrize("task", tiny.TASKS)
def test_the_published_number_of_parameters_learns(task: str) -> None:
    with torch.device("meta"):
        model = torch_model.SeisMoLLM(task)
    count = {"picking": 2_489_463, "polarity": 2_242_214, "back_azimuth": 2_242_214}
    learn = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learn == count.get(task, 2_242_117)


@pytest.mark.parametrize("task", tiny.TASKS)
def test_the_losses_are_those_of_the_training(task: str) -> None:
    import jax.numpy as jnp

    from seismollm_jax import tasks

    draw = np.random.default_rng(0)
    shape = {"picking": (2, 3, 20), "polarity": (2, 2), "back_azimuth": (2, 2)}.get(task, (2, 1))
    output = draw.uniform(0.1, 0.9, shape).astype(np.float32)
    label = {"picking": "labels", "back_azimuth": "back_azimuth_deg", "distance": "distance_km"}
    target = draw.uniform(0, 3, (2, 1) if task == "back_azimuth" else shape).astype(np.float32)
    ones = np.ones(2, np.float32)
    targets = {label.get(task, task): target, "p_sample_labelled": ones, "s_sample_labelled": ones}
    found = torch_model.TASKS[task].loss(torch.tensor(output), torch.tensor(target))
    if task == "picking":
        output, targets["labels"] = output.swapaxes(1, 2), target.swapaxes(1, 2)
    expected = tasks.get(task).loss(jnp.asarray(output), targets).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
