"""Memory of picking an archive, station-day after station-day: it must not grow.

    python -m benchmarks.archive_memory --checkpoint DIR --days 30

An SDS archive of one station is written, three components at 100 Hz, and picked by
`seismollm_jax.inference.archive.run`. What is measured is the resident memory of the process, after
each station-day and at its highest. With --zeros the network is replaced by zeros: what is left is
reading, preparing, cutting windows, stacking, picking and writing.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

if not __package__:  # run as a file: the folder on Python's path is this one, not the one above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import seismollm_jax as sj
from benchmarks import archive_data, process_tree
from seismollm_jax.data.memory import keep_freed_memory
from seismollm_jax.inference.archive import run as archive

EVERY_S = 0.2  # between two looks at the memory


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.archive_memory", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="of a picking network")
    add("--days", type=int, default=30)
    add("--batch-size", type=int, default=64)
    add("--readers", type=int, default=1)
    add("--zeros", action="store_true", help="without the network")
    add("--folder", type=Path, help="keep the archive here, and use what is there")
    given = parser.parse_args(arguments)
    if not process_tree.available():
        parser.error("this system does not tell the memory of processes (Linux does)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        archive_data.write(folder / "sds", stations=1, days=given.days)
        print(json.dumps(measure(folder, Path(temporary) / "out", given), indent=1))
    return 0


def measure(folder: Path, output: Path, given: argparse.Namespace) -> dict:
    """Pick the archive and watch the memory."""
    keep_freed_memory()
    predictor = sj.load(given.checkpoint, batch_size=given.batch_size)
    if given.zeros:
        predictor._run = lambda x: np.zeros((*x.shape[:2], 3), np.float32)
    manifest = output / "manifest.jsonl"
    seen: list[tuple[int, float]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(EVERY_S):
            done = manifest.read_text().count("\n") if manifest.exists() else 0
            seen.append((done, process_tree.memory_mb()))

    before = process_tree.memory_mb()
    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    try:
        job = archive.Job(inputs=(str(folder / "sds"),), output=output, readers=given.readers)
        summary = archive.run(predictor, job, lambda text: None)
    finally:
        stop.set()
        watcher.join()
    seconds = time.perf_counter() - begin
    highest = [max((mb for n, mb in seen if n == done), default=0.0) for done in range(given.days)]
    half = len(highest) // 2
    return {
        "station_days": summary.done,
        "picks": summary.picks,
        "station_days_per_minute": round(60 * summary.done / seconds, 2),
        "stages_s": {name: round(value, 2) for name, value in summary.stages.items()},
        "memory_mb": {
            "before": round(before),
            "highest_of_first_half": round(max(highest[:half])),
            "highest_of_second_half": round(max(highest[half:])),
            "highest_by_station_day": [round(mb) for mb in highest],
        },
    }


if __name__ == "__main__":
    sys.exit(main())
