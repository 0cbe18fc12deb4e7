"""How long it takes from the start of Python to the first batch.

    python -m benchmarks.model_startup CHECKPOINT SAMPLES

prints the seconds as JSON: import, loading, first and second batch of eight windows.
`benchmarks.model` runs it twice with an empty compilation cache, which is warm the second time.
"""

import time

BEGUN = time.perf_counter()

import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """What one run takes."""
    import numpy as np

    import seismollm_jax
    from seismollm_jax.inference import predictor  # noqa: F401

    times = {"import_s": time.perf_counter() - BEGUN}
    begun = time.perf_counter()
    network = seismollm_jax.load(sys.argv[1], batch_size=8)
    times["load_s"] = time.perf_counter() - begun
    window = int(sys.argv[2])
    waveforms = np.random.default_rng(0).standard_normal((8, 3, window), np.float32)
    for name in ("first_batch_s", "second_batch_s"):
        begun = time.perf_counter()
        network.predict(waveforms)
        times[name] = time.perf_counter() - begun
    times["to_first_batch_s"] = sum(times[name] for name in ("import_s", "load_s", "first_batch_s"))
    print(json.dumps(times))


def save(experiment: Any, workdir: Path) -> None:
    """A checkpoint of a network with random weights, as training leaves it."""
    import jax
    import numpy as np

    from benchmarks.model_jax import arrays_of
    from seismollm_jax import parallel
    from seismollm_jax.training import optim
    from seismollm_jax.training.checkpoint import Checkpoints

    layout = parallel.layout_over(jax.local_devices()[:1])
    params, frozen, stats = layout.replicate(arrays_of(experiment))
    optimizer = optim.configured(experiment.config["optim"])
    state = {
        "step": layout.replicate(np.int32(1)),
        "params": params,
        "stats": stats,
        "opt": layout.replicate(optimizer.init(params)),
    }
    description = {
        "task": experiment.task.name,
        "config": experiment.config,
        "settings": experiment.settings,
        "contract": experiment.contract(),
        "progress": {"step": 1, "best_step": 1},
    }
    checkpoints = Checkpoints(workdir, maximise=False)
    checkpoints.save(1, state, frozen, description, 0.5)
    checkpoints.close()


def measure(experiment: Any) -> dict[str, dict[str, float]]:
    """Cold and warm, each in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        save(experiment, Path(folder) / "run")
        environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        window = experiment.config["data"]["window"]
        command = [sys.executable, "-m", "benchmarks.model_startup", f"{folder}/run", str(window)]
        for name in ("cold", "warm"):
            result = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if result.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
            found[name] = json.loads(result.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
