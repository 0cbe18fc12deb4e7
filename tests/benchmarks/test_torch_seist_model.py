"""The PyTorch model of the benchmark computes what the network does, with as many parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

from seismollm_jax import tasks
from seismollm_jax.conversion import torch_seist
from seismollm_jax.models import seist
from seismollm_jax.models.seist.config import SIZES
from tests.golden_files import read_json, relative_difference
from tests.models.seist_files import OUTPUTS, state_dict

torch = pytest.importorskip("torch")
from benchmarks import torch_seist_model  # noqa: E402

SHORT = {
    "picking": "dpk",
    "polarity": "pmp",
    "magnitude": "emg",
    "back_azimuth": "baz",
    "distance": "dis",
}


@pytest.mark.parametrize(("size", "task"), [("s", "picking"), ("s", "polarity")])
def test_output_is_that_of_the_witness(size: str, task: str) -> None:
    config, output = seist.published(size, task), OUTPUTS[SHORT[task]]
    arrays = state_dict(config, output)
    x = np.random.default_rng(1).normal(size=(1, 3, 201)).astype(np.float32)
    expected = torch_seist.forward(
        arrays,
        x,
        strides=config.stem.strides,
        pooling=[stage.pooling for stage in config.stages],
        attention_pooling=[stage.attention_pooling for stage in config.stages],
        head_widths=[stage.head_width for stage in config.stages],
        output=output,
    )
    model = torch_seist_model.SeisT(f"seist_{size}", task).eval()
    torch_seist_model.load(model, arrays)
    with torch.inference_mode():
        assert relative_difference(model(torch.tensor(x)).numpy(), expected) < 1e-5


@pytest.mark.parametrize("task", SHORT)
@pytest.mark.parametrize("size", SIZES)
def test_the_published_number_of_parameters(size: str, task: str) -> None:
    with torch.device("meta"):
        model = torch_seist_model.SeisT(f"seist_{size}", task)
    known = read_json("seist/keys.json")[f"{size}_{SHORT[task]}"]
    assert sum(p.numel() for p in model.parameters()) == known["parameters"]


@pytest.mark.parametrize("task", ["picking", "back_azimuth"])
def test_the_losses_are_those_of_the_training(task: str) -> None:
    draw = np.random.default_rng(0)
    shape = (2, 3, 20) if task == "picking" else (2, 1)
    output = draw.uniform(0.1, 0.9, shape).astype(np.float32)
    target = draw.uniform(0, 3, shape).astype(np.float32)
    found = torch_seist_model.TASKS[task].loss(torch.tensor(output), torch.tensor(target))
    targets = {name: np.ones(2, np.float32) for name in ("p_sample_labelled", "s_sample_labelled")}
    if task == "picking":
        output, target = output.swapaxes(1, 2), target.swapaxes(1, 2)
    targets["labels" if task == "picking" else "back_azimuth_deg"] = target
    form = "detection" if task == "picking" else "angle"
    expected = tasks.get(task, form).loss(jnp.asarray(output), targets).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
