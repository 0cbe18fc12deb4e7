"""The tiny networks behind the golden files, filled with their recorded weights."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from seismollm_jax import tasks
from seismollm_jax.models.seismollm.gpt2 import GPT2Config
from seismollm_jax.models.seismollm.model import EmbedderConfig, SeisMoLLM, SeisMoLLMConfig
from seismollm_jax.models.seismollm.names import GPT2_PREFIX, checkpoint_rules, checkpoint_table
from seismollm_jax.models.state import Split, key, merge, split
from seismollm_jax.models.weights import Extra, read
from tests import golden_files

TASKS = tuple(tasks.TASKS)
CONFIG = SeisMoLLMConfig(
    gpt2=GPT2Config(n_embd=64, n_head=4, n_layer=4, n_positions=256),
    layers=3,
    patch_size=8,
    embedder=EmbedderConfig(channels=(8, 12, 16)),
    head_channels=(20, 24, 28, 32),
)


@functools.cache
def golden(task: str) -> dict[str, np.ndarray]:
    return golden_files.load(f"model/{task}.npz")


def state_dict(task: str) -> dict[str, np.ndarray]:
    """The recorded checkpoint under its PyTorch keys."""
    base = golden_files.load("model/gpt2_base.npz")
    tail = base.pop("wpe_tail")
    arrays = base | {
        name.removeprefix("weights/"): value
        for name, value in golden(task).items()
        if name.startswith("weights/")
    }
    # Positions behind the 16 tokens of training never moved; all tasks share them.
    wpe = f"{GPT2_PREFIX}wpe.weight"
    arrays[wpe] = np.concatenate([arrays[wpe], tail])
    return arrays


def file_layout(task: str, *, full_size: bool = False) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every key of a recorded state dict, in its order, with shape and dtype.

    That of the tiny network, or of the published size.
    """
    keys = golden_files.read_json("model/keys.json")
    published = keys[keys[task].get("like", task)]
    shapes = published["shapes"] | keys[task]["shapes"]
    if not full_size:
        recorded = golden_files.read_json("model/training_files.json")[task]["shapes"]
        shapes = dict(zip(shapes, recorded, strict=True))
    integers = set(published["int64"])
    return {
        name: (tuple(shape), "int64" if i in integers else "float32")
        for i, (name, shape) in enumerate(shapes.items())
    }


def parameter_order(task: str) -> list[str]:
    """The keys that PyTorch's optimiser numbers, in that order; of either size."""
    keys = golden_files.read_json("model/keys.json")
    published = keys[keys[task].get("like", task)]
    names = list(published["shapes"])
    return [names[i] for i in published["parameter_order"]]


def full_state_dict(task: str) -> dict[str, np.ndarray]:
    """The recorded checkpoint with all its keys, in their order.

    To `state_dict` it adds the empty token embedding and the counters of the batch norms.
    """
    arrays = state_dict(task)
    counter = np.array(training(task)["num_batches_tracked"], np.int64)
    full = {}
    for name, (shape, dtype) in file_layout(task).items():
        if dtype == "int64":
            full[name] = counter.copy()
        else:
            # What a state dict lacks must hold nothing.
            full[name] = arrays.pop(name) if name in arrays else np.empty((0, *shape[1:]), dtype)
        assert (full[name].shape, full[name].dtype) == (shape, dtype), name
    assert not arrays, arrays.keys()
    return full


def training(task: str) -> dict[str, Any]:
    """What a recorded training file holds besides tensors, in the types of the file.

    `epoch`, `loss`, `use_compile`, `use_ddp`, `param_groups` and `scheduler_dict` are as in the
    file. `n_parameters` is the number of parameters, `state_indices` are those that have
    moments, `step` is Adam's counter and `num_batches_tracked` the batch norms', which are the same
    everywhere.
    """
    recorded = golden_files.read_json("model/training_files.json")[task]
    del recorded["shapes"]
    (group,) = recorded["param_groups"]
    group["betas"] = tuple(group["betas"])
    group["params"] = list(range(recorded["n_parameters"]))
    return recorded


def moments() -> dict[str, dict[str, np.ndarray]]:
    """Adam's moments in the training file of distance: `exp_avg`, `exp_avg_sq`, each by key."""
    found: dict[str, dict[str, np.ndarray]] = {"exp_avg": {}, "exp_avg_sq": {}}
    for name, value in golden("distance_training").items():
        group, _, parameter = name.partition("/")
        if group in found:
            found[group][parameter] = value
    return found


@functools.cache
def shapes(config: SeisMoLLMConfig, task: str) -> Split:
    """The network's parts as shapes."""
    output = tasks.get(task).output
    return split(nnx.eval_shape(lambda: SeisMoLLM(config, output, rngs=nnx.Rngs(0))), bool)


def fill(config: SeisMoLLMConfig, task: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """PyTorch arrays -> flat parameters and statistics; every one of them used."""
    parts = shapes(config, task)
    flat = {**parts.params, **parts.frozen, **parts.stats}
    output = tasks.get(task).output
    rules = checkpoint_rules(config, output)
    extras = {e.key for e in checkpoint_table(config, output) if isinstance(e, Extra)}
    assert {key(rule.path) for rule in rules} == set(flat)
    wanted = {rule.path: flat[key(rule.path)].shape for rule in rules}
    values = read(rules, arrays, wanted, source=task, ignore=extras.__contains__)
    return {key(path): jnp.asarray(value) for path, value in values.items()}


@functools.cache
def arrays(task: str) -> dict[str, Any]:
    """The recorded weights of the tiny network of a task, flat; not to be changed."""
    return fill(CONFIG, task, state_dict(task))


def model(task: str) -> Any:
    """The tiny network of a task with its recorded weights."""
    return merge(shapes(CONFIG, task).graphdef, arrays(task))
