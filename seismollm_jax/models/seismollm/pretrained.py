"""GPT-2 weights from a Hugging Face directory, a hub name or a directory converted earlier."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import orbax.checkpoint as ocp
import safetensors
from huggingface_hub.errors import HFValidationError

from seismollm_jax.conversion import torch_files
from seismollm_jax.models.family import Path as StatePath
from seismollm_jax.models.family import Pretrained
from seismollm_jax.models.seismollm.gpt2 import ADAPTED_LAYERS, GPT2Config
from seismollm_jax.models.seismollm.names import gpt2_rules, is_gpt2_extra
from seismollm_jax.models.weights import read

DESCRIPTION, ARRAYS = "gpt2.json", "arrays"  # what `convert` writes
PREFIX = "transformer."  # in files saved from a language-model class
SAFETENSORS, INDEX, PICKLED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
FILES = ("config.json", SAFETENSORS, INDEX, "model-*.safetensors")  # fetched from the hub


class SourceError(ValueError):
    """GPT-2 files that cannot be had or read; the message says what to do."""


def locate(source: str, wanted: Sequence[str] = FILES) -> Path:
    """The local directory behind `source`: itself, or the hub's snapshot of that name.

    From the hub only files matching `wanted` are fetched.

    Raises:
        SourceError: neither a directory nor a name that the hub can deliver.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    remedy = (
        "give a directory with config.json and model.safetensors (from another machine: "
        "`hf download gpt2 --local-dir gpt2`), or ask for an untrained backbone by name: random"
    )
    if path.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise SourceError(f"GPT-2 source {source!r} is not a directory; {remedy}")
    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=list(wanted)))
    except (OSError, HFValidationError, RuntimeError) as error:
        reason = type(error).__name__
        if text := str(error).strip():
            reason += f": {text.splitlines()[0]}"
        raise SourceError(
            f"GPT-2 source {source!r} is no local directory, and the hub did not deliver it "
            f"({reason}); {remedy}"
        ) from error


def read_config(source: str) -> GPT2Config:
    """Sizes of the GPT-2 at `source`; from the hub only the configuration file is fetched."""
    directory = locate(source, ["config.json"])
    for name in (DESCRIPTION, "config.json"):
        if (directory / name).is_file():
            try:
                fields = json.loads((directory / name).read_text())
                if not isinstance(fields, dict):
                    raise ValueError("it holds no table of settings")
                if name == DESCRIPTION:
                    return GPT2Config(**fields["config"])
                return GPT2Config.from_json(_with_defaults(fields))
            except (ValueError, KeyError, TypeError) as error:
                raise SourceError(f"{directory / name}: {error}") from error
    raise SourceError(f"{directory} has no config.json: it is not a GPT-2 directory")


def _with_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """Completes a `config.json`: what it leaves out has the value transformers gives it."""
    # Otherwise transformers notes on import that PyTorch is missing, which is not needed here.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import GPT2Config as HuggingFaceConfig

    if fields.get("model_type", "gpt2") != "gpt2":
        return fields  # refused by the caller, which says why
    return HuggingFaceConfig.from_dict(fields).to_dict()


def _read_safetensors(path: Path, layers: range, depth: int) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in _needed(file.keys(), layers, depth)}
    except (safetensors.SafetensorError, OSError) as error:
        raise SourceError(
            f"{path} is missing, truncated or damaged ({error}); fetch it again"
        ) from error


def _needed(keys: Iterable[str], layers: range, depth: int) -> list[str]:
    """The keys to read, bare or with a prefix: no masks, no embedding, none of the other layers.

    Keys that GPT-2 does not have are kept, so that they are reported.
    """
    others = {rule.key for rule in gpt2_rules(range(depth))}
    others -= {rule.key for rule in gpt2_rules(layers)}
    bare = {key: key.removeprefix(PREFIX) for key in keys}
    return [key for key, name in bare.items() if name not in others and not is_gpt2_extra(name)]


def read_huggingface(directory: Path, layers: range, depth: int) -> dict[str, np.ndarray]:
    """Arrays of a Hugging Face GPT-2 directory under bare keys, float32.

    `model.safetensors`, its sharded form and `pytorch_model.bin` are tried in this order. Only
    the decoder blocks `layers`, out of `depth`, and what lies outside the blocks, are read.

    Raises:
        SourceError: no weights there, or a file that is truncated or damaged.
    """
    if (directory / SAFETENSORS).exists():
        arrays = _read_safetensors(directory / SAFETENSORS, layers, depth)
    elif (directory / INDEX).exists():
        try:
            weight_map = dict(json.loads((directory / INDEX).read_text())["weight_map"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{directory / INDEX} is truncated or damaged ({error}); fetch it again"
            ) from error
        arrays = {}
        for shard in sorted({weight_map[key] for key in _needed(weight_map, layers, depth)}):
            arrays |= _read_safetensors(directory / shard, layers, depth)
    elif (directory / PICKLED).exists():
        arrays = torch_files.read_state_dict(directory / PICKLED)
        arrays = {key: arrays[key] for key in _needed(arrays, layers, depth)}
    else:
        raise SourceError(
            f"{directory} has none of {SAFETENSORS}, {INDEX}, {PICKLED}: the weights are missing"
        )
    return {key.removeprefix(PREFIX): np.asarray(v, np.float32) for key, v in arrays.items()}


def shapes(config: GPT2Config, layers: int) -> dict[StatePath, tuple[int, ...]]:
    """Expected shape of every array of a backbone with so many blocks, by path."""
    width, inner = config.n_embd, config.inner
    kernels = dict(
        zip(
            ADAPTED_LAYERS,
            ((width, 3 * width), (width, width), (width, inner), (inner, width)),
            strict=True,
        )
    )
    expected: dict[StatePath, tuple[int, ...]] = {}
    for rule in gpt2_rules(range(layers)):
        if rule.path[-1] == "wpe":
            expected[rule.path] = (config.n_positions, width)
        elif rule.path[-2] == "base":
            kernel = kernels[f"{rule.path[-4]}.{rule.path[-3]}"]
            expected[rule.path] = kernel if rule.path[-1] == "kernel" else kernel[1:]
        else:
            expected[rule.path] = (width,)
    return expected


def sha256(arrays: Mapping[StatePath, np.ndarray]) -> str:
    """Hash of names, shapes and values; the same for every file format they were read from."""
    digest = hashlib.sha256()
    for path in sorted(arrays, key=str):
        digest.update(f"{path}{arrays[path].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[path], np.float32).tobytes())
    return digest.hexdigest()


def read_blocks(source: str, *, first: int, count: int) -> Pretrained:
    """Positions, `count` blocks from block `first` on and the final norm of the GPT-2 at `source`.

    Raises:
        SourceError, WeightsError: files missing, damaged, or of other sizes than config.json says.
    """
    directory, layers = locate(source), range(first, first + count)
    config = read_config(source)
    if (directory / DESCRIPTION).is_file():
        arrays = _read_converted(directory, layers)
    else:
        arrays = read_huggingface(directory, layers, config.n_layer)
    values = read(gpt2_rules(layers), arrays, shapes(config, count), source=str(directory))
    return Pretrained(
        values, f"GPT-2 layers {first} to {first + count - 1} of {source}", sha256(values)
    )


def convert(source: str, output: Path) -> dict[str, object]:
    """Writes the whole GPT-2 at `source` as Flax arrays (Orbax) with a description beside them.

    The result is accepted wherever a source is. Returns the description.

    Raises:
        SourceError, WeightsError: as for `read_blocks`.
        FileExistsError: `output` is there already.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists; choose another --output or remove it")
    directory, config = locate(source), read_config(source)
    layers = range(config.n_layer)
    arrays = read_huggingface(directory, layers, config.n_layer)
    values = read(gpt2_rules(layers), arrays, shapes(config, config.n_layer), source=str(directory))
    description: dict[str, object] = {
        "format": 1,
        "config": dataclasses.asdict(config),
        "source": source,
        "sha256": sha256(values),
        "arrays": len(values),
        "parameters": int(sum(value.size for value in values.values())),
    }
    output.mkdir(parents=True)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save((output / ARRAYS).absolute(), arrays)
    (output / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    return description


def _read_converted(directory: Path, layers: range) -> dict[str, np.ndarray]:
    keys = [rule.key for rule in gpt2_rules(layers)]
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    selection = ocp.args.PyTreeRestore(
        item=dict.fromkeys(keys, 0),
        restore_args=dict.fromkeys(keys, as_numpy),
        partial_restore=True,
    )
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            return checkpointer.restore((directory / ARRAYS).absolute(), args=selection)
    except (OSError, ValueError) as error:
        raise SourceError(f"{directory / ARRAYS} is damaged ({error}); convert again") from error
