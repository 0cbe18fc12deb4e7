"""What a checkpoint says about where it comes from."""

import contextlib
import importlib.metadata
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("seismollm_jax", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def provenance() -> dict[str, Any]:
    """When, with which versions, from which commit and by which command."""
    root = Path(__file__).resolve().parents[2]
    commit = ""
    if (root / ".git").exists():
        with contextlib.suppress(OSError):  # git may not be installed
            result = subprocess.run(
                ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
                capture_output=True,
                text=True,
                check=False,
            )
            commit = result.stdout.strip()
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": commit,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "devices": f"{jax.device_count()} {jax.devices()[0].device_kind}",
    }
