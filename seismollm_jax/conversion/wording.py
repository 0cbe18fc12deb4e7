"""What the commands of convert_weights.py say of what was found."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seismollm_jax.conversion import originals
from seismollm_jax.conversion.foreign import ConfigFor


def described(facts: Mapping[str, Any]) -> str:
    """The sizes that matter, in a line."""
    return originals.of_family(facts["family"]).described(facts["settings"])


def verified(result: Mapping[str, Any]) -> str:
    """What the numerical comparison found."""
    if result["passed"] is None:
        return f"every tensor was read back and is equal; {result['reason']}"
    return (
        f"every tensor was read back and is equal; outputs in JAX {result['jax']} and PyTorch "
        f"{result['torch']} differ by {result['largest_difference']:.1e} of their size (allowed "
        f"{result['tolerance']:.0e})"
    )


def continuing(facts: Mapping[str, Any], workdir: Path, config_for: ConfigFor) -> str:
    """The command that continues a converted training."""
    task = facts["task"]
    published = flat(config_for(task))
    changes = [
        shlex.quote(f"--config.{name}={value}")
        for name, value in flat(facts["config"]).items()
        if value != published.get(name) and name != "data.path"
    ]
    parts = [f"--config=configs/{task}.py", *changes, "--config.data.path=DATA"]
    return " ".join(["python train.py", *parts, f"--workdir={shlex.quote(str(workdir))}"])


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields of nested tables by dotted name; tuples as they are."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = tuple(value) if isinstance(value, list) else value
    return found
