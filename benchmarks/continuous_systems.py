"""One system at work on continuous records, in a process of its own; see `continuous`.

    python -m benchmarks.continuous_systems ours archive --folder SDS --checkpoint DIR

prints its figures as JSON. `archive` picks an archive, from files to a table. `host` is the work
besides the network, which is replaced by zeros, for one station-day that is in memory already.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obspy

from benchmarks import archive_data

Figures = dict[str, Any]


def main() -> None:
    """Measures as the arguments say."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("system", choices=["ours", "seisbench"])
    add("work", choices=["archive", "host"])
    add("--folder", type=Path)
    add("--stations", type=int, default=1)
    add("--days", type=int, default=1)
    add("--gaps", type=int, default=0)
    add("--batch-size", type=int, default=64)
    add("--checkpoint", type=Path)
    given = parser.parse_args()
    figures = {"ours": ours, "seisbench": seisbench}[given.system](given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures["peak_memory_mb"] = round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
    print(json.dumps(figures))


def ours(given: argparse.Namespace) -> Figures:
    """This project's predictor."""
    import numpy as np

    import seismollm_jax as sj
    from seismollm_jax.data.memory import keep_freed_memory
    from seismollm_jax.inference.archive import run as archive

    keep_freed_memory()
    predictor = sj.load(given.checkpoint, batch_size=given.batch_size)
    about = {"window": predictor.window, "sampling_rate_hz": predictor.sampling_rate_hz}
    if given.work == "host":
        predictor._run = lambda x: np.zeros((*x.shape[:2], 3), np.float32)
        return about | _host(predictor.classify, given.gaps)
    # A batch of the full size, so that compiling is not counted.
    window_s = predictor.window / predictor.sampling_rate_hz
    short = archive_data.day("WARM", 0)
    begin = short[0].stats.starttime
    predictor.classify(short.trim(begin, begin + window_s * (given.batch_size // 2 + 1)))
    with tempfile.TemporaryDirectory() as output:
        job = archive.Job(inputs=(str(given.folder),), output=Path(output) / "picks")
        started, cpu = time.perf_counter(), time.process_time()
        summary = archive.run(predictor, job, lambda text: None)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return about | {
        "station_days": summary.done,
        "picks": summary.picks,
        "seconds": seconds,
        "cpu_s": cpu_s,
        "stages_s": summary.stages,  # side by side, so their sum is larger
    }


def seisbench(given: argparse.Namespace) -> Figures:
    """SeisBench's PhaseNet with random weights and its own defaults, station-day by station-day."""
    import pandas as pd
    import seisbench.models
    import torch

    class Zeros(seisbench.models.PhaseNet):
        def forward(self, x: torch.Tensor, logits: bool = False) -> torch.Tensor:
            return torch.zeros((len(x), 3, x.shape[2]))

    about = {"window": 3001, "sampling_rate_hz": 100.0}
    if given.work == "host":
        return about | _host(Zeros().classify, given.gaps)
    torch.manual_seed(0)
    model = seisbench.models.PhaseNet().eval()
    stages = dict.fromkeys(("reading", "annotating and picking", "writing"), 0.0)
    picks, files = 0, archive_data.write(given.folder, given.stations, given.days)
    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as output:
        for number, paths in enumerate(files):
            begin = time.perf_counter()
            stream = obspy.Stream([trace for path in paths for trace in obspy.read(path)])
            read = time.perf_counter()
            found = model.classify(stream).picks
            done = time.perf_counter()
            rows = [(p.trace_id, str(p.peak_time), p.phase, p.peak_value) for p in found]
            pd.DataFrame(rows).to_csv(Path(output) / f"{number}.csv")
            times = read - begin, done - read, time.perf_counter() - done
            stages = {k: stages[k] + s for k, s in zip(stages, times, strict=True)}
            picks += len(rows)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return about | {
        "station_days": len(files),
        "picks": picks,
        "seconds": seconds,
        "cpu_s": cpu_s,
        "stages_s": stages,
    }


def _host(classify: Callable[[obspy.Stream], Any], gaps: int) -> Figures:
    """Seconds of the second of two passes, since the first one makes buffers and caches."""
    stream = archive_data.day("S000", 0, gaps)
    classify(stream.copy())
    wall, cpu = time.perf_counter(), time.process_time()
    classify(stream)
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "gaps": gaps,
    }


if __name__ == "__main__":
    main()
