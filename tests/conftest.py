"""Settings that have to be made before JAX starts, and the dataset that many tests read."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Eight devices on any machine, so that sharding is tested everywhere. LLVM's optimisations are
# left out, and the quicker of two ways to write loops is taken, because compiling takes far longer
# than running here; XLA's own optimisations stay in.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false"
)
# Tests, xdist's workers and the subprocesses of tests compile the same steps: once is enough.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    folder = tempfile.mkdtemp(prefix="seismollm-jax-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest

from seismollm_jax.data import synthetic

jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in dataset of 64 traces; tests read it and change only copies."""
    folder = tmp_path_factory.mktemp("data") / "builtin"
    synthetic.write(folder, traces=64, seed=0)
    return folder
