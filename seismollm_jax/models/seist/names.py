"""Names of SeisT's arrays in the PyTorch files of its authors.

One table serves both directions. It lists the arrays in the order in which PyTorch registers them,
which is the order of a state dict and, without the buffers, of the optimiser's state.
"""

from collections.abc import Iterator

from seismollm_jax.models.family import Path
from seismollm_jax.models.output import Output
from seismollm_jax.models.seist.config import SeisTConfig, StageConfig
from seismollm_jax.models.weights import Extra, Rule, batch_norm, convolution

VERSION = 1  # of this table; goes up with every change of names or layouts

Entries = Iterator[Rule | Extra]


def checkpoint_table(config: SeisTConfig, output: Output) -> Entries:
    """Every array of a task's network under the keys of the PyTorch original, in its order."""
    for b in range(len(config.stem.kernels)):
        ours: Path = ("stem", "blocks", b)
        for j in range(config.stem.branches):
            branch, key = (*ours, "branches", j), f"stem.{b}.convs.{j}"
            yield from convolution((*branch, "in_proj"), f"{key}.in_proj", bias=False)
            yield from convolution((*branch, "depthwise"), f"{key}.dconv", bias=False)
            yield from convolution((*branch, "pointwise"), f"{key}.pconv", bias=False)
            yield from batch_norm((*branch, "norm"), f"{key}.norm")
        yield from convolution((*ours, "out_proj"), f"stem.{b}.out_proj", bias=False)
        yield from batch_norm((*ours, "norm"), f"stem.{b}.norm")

    for s, stage in enumerate(config.stages):
        yield from _aggregation(("stages", s, "aggregation"), f"encoder_layers.{s}.0")
        for b in range(stage.blocks):
            ours, key = ("stages", s, "blocks", b), f"encoder_layers.{s}.{b + 1}"
            if b < stage.blocks - stage.transformers:
                yield from _multi_scale(ours, key, len(config.kernels))
            else:
                rest = stage.channels - config.attention_width(stage)
                yield from _transformer(ours, key, stage, convolves=rest > 0)

    if output.per_sample:
        for i in range(len(config.halvings())):
            up: Path = ("head", "up_layers", i)
            yield from convolution((*up, "conv"), f"out_head.up_layers.{i}.conv", bias=True)
            yield from batch_norm((*up, "norm"), f"out_head.up_layers.{i}.norm")
        yield from convolution(("head", "out_conv"), "out_head.out_conv", bias=True)
    else:
        yield from convolution(("head", "linear"), "out_head.lin", bias=True)


def _aggregation(path: Path, key: str) -> Entries:
    yield from convolution((*path, "proj"), f"{key}.proj", bias=False)
    yield from batch_norm((*path, "norm"), f"{key}.norm")


def _mlp(path: Path, key: str) -> Entries:
    yield from convolution((*path, "expand"), f"{key}.lin0", bias=True)
    yield from convolution((*path, "project"), f"{key}.lin1", bias=True)


def _grouped(path: Path, key: str) -> Entries:
    yield from convolution((*path, "conv"), f"{key}.conv", bias=False)
    yield from batch_norm((*path, "norm0"), f"{key}.norm0")
    yield from convolution((*path, "proj"), f"{key}.proj", bias=False)
    yield from batch_norm((*path, "norm1"), f"{key}.norm1")
    yield from _mlp((*path, "mlp"), f"{key}.mlp")


def _multi_scale(path: Path, key: str, branches: int) -> Entries:
    for i in range(branches):
        yield from convolution((*path, "branches", i, "proj"), f"{key}.projs.{i}", bias=False)
    for i in range(branches):
        yield from batch_norm((*path, "branches", i, "norm"), f"{key}.norms.{i}")
    for i in range(branches):
        yield from _grouped((*path, "branches", i, "grouped"), f"{key}.convs.{i}")
    yield from batch_norm((*path, "norm"), f"{key}.out_norm")


def _transformer(path: Path, key: str, stage: StageConfig, *, convolves: bool) -> Entries:
    yield from convolution((*path, "attention_proj"), f"{key}.attn_proj", bias=False)
    yield from batch_norm((*path, "attention_norm"), f"{key}.norm0")
    attention = (*path, "attention")
    if stage.attention_pooling > 1:
        yield from _aggregation((*attention, "aggregation"), f"{key}.attention.aggr")
        yield from batch_norm((*attention, "norm"), f"{key}.attention.norm")
    projections = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
    for name, theirs in projections.items():
        yield from convolution((*attention, name), f"{key}.attention.{theirs}", bias=True)
    if convolves:
        yield from convolution((*path, "conv_proj"), f"{key}.conv_proj", bias=False)
        yield from batch_norm((*path, "conv_norm"), f"{key}.norm1")
        yield from _grouped((*path, "grouped"), f"{key}.gconv")
    yield from batch_norm((*path, "norm"), f"{key}.norm2")
    yield from _mlp((*path, "mlp"), f"{key}.mlp")
