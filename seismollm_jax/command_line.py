"""What the scripts at the top level share: how they start and how they fail."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, logging

TRACEBACK = "SEISMOLLM_TRACEBACK"  # environment variable; set, errors keep their traceback


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a script's `main`; bad input ends it with a message and exit code 1.

    The errors that this project and its libraries raise for bad input say what is wrong and what
    to do, so a traceback would only hide that. Set SEISMOLLM_TRACEBACK=1 to see it.
    """

    def guarded(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # Orbax writes a page for every checkpoint
        try:
            main(argv)
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            if os.environ.get(TRACEBACK):
                raise
            sys.exit(
                f"{Path(sys.argv[0]).name}: {type(error).__name__}: {error}\n"
                f"({TRACEBACK}=1 shows where)"
            )

    app.run(guarded)
