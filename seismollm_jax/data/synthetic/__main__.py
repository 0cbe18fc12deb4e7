"""Command line: `python -m seismollm_jax.data.synthetic --output DIR --events N --seed S`."""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from seismollm_jax.data.synthetic.dataset import describe, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a synthetic dataset; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m seismollm_jax.data.synthetic",
        description="Write a synthetic local-earthquake dataset in STEAD's layout "
        "(merge.csv and merge.hdf5).",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="directory to write into")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--events", type=int, help="number of earthquakes (several traces each)")
    size.add_argument("--traces", type=int, help="number of traces, noise included")
    parser.add_argument("--seed", type=int, default=0, help="fixes every byte (default 0)")
    parser.add_argument(
        "--noise-share", type=float, default=0.1, help="share of noise-only traces (default 0.1)"
    )
    parser.add_argument(
        "--max-stations", type=int, default=8, help="most stations per earthquake (default 8)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace another synthetic dataset in DIR"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    given = parser.parse_args(arguments)
    try:
        with tqdm(total=given.traces, unit=" traces", disable=given.quiet) as bar:
            summary = write(
                given.output,
                events=given.events,
                traces=given.traces,
                seed=given.seed,
                noise_share=given.noise_share,
                max_stations=given.max_stations,
                overwrite=given.overwrite,
                progress=lambda count: bar.update(count - bar.n),
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(describe(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
