"""Weights of other programs: python convert_weights.py COMMAND.

Commands: gpt2, from-torch, to-torch, adapters, inspect, verify.

Every command has its own --help; docs/pytorch.md explains them.
"""

import importlib
from typing import Any

from seismollm_jax import command_line
from seismollm_jax.conversion import commands


def config_for(task: str) -> dict[str, Any]:
    """The published experiment of a task, as plain dictionaries."""
    return importlib.import_module(f"configs.{task}").get_config("stead").to_dict()


if __name__ == "__main__":
    command_line.guarded(lambda: commands.main(config_for))
