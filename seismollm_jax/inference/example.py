"""A real record to try things on: `python -m seismollm_jax.inference.example --output FILE`.

ObsPy carries it for its own documentation: station RJOB of the Bavarian network (BW), channels EHZ,
EHN and EHE at 100 Hz, 30 s from 2009-08-24 00:20:03 UTC, with a local earthquake. No network
connection is needed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import obspy


def write(path: str | Path) -> Path:
    """Write the record as miniSEED; the folder is made if need be.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    obspy.read().write(str(path), format="MSEED")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the record where the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m seismollm_jax.inference.example",
        description="Write ObsPy's example record (three components, 100 Hz, 30 s) as miniSEED.",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="such as record.mseed")
    given = parser.parse_args(arguments)
    try:
        path = write(given.output)
    except OSError as error:
        print(f"error: the record cannot be written: {error}", file=sys.stderr)
        return 2
    print(f"example record in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
