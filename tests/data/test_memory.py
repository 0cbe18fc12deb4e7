import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
import numpy as np
from seismollm_jax.data.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    batch = [np.ones(18_000, np.float32) for _ in range(200)] + [np.ones(1_000_000)]
    del batch
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(sum(faults() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep their own way")
def test_the_second_batch_needs_no_new_pages() -> None:
    counts = {}
    for how in ("kept", "by itself"):
        run = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        counts[how] = int(run.stdout)
    assert counts["kept"] < 500 < counts["by itself"]
