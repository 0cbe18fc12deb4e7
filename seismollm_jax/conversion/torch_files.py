"""Reading PyTorch's own file format; the only place that imports torch for it."""

from pathlib import Path

import numpy as np


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a flat state dict, with the restricted unpickler (no code is run from the file).

    Raises:
        ImportError: torch is not installed.
        ValueError: the file is damaged or holds more than arrays.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} is a PyTorch file, which needs the torch extra: "
            "pip install 'seismollm_jax[torch]' (or use model.safetensors instead)"
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: value.detach().float().numpy() for key, value in state.items()}
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable PyTorch state dict ({error}); fetch the file again"
        ) from error
