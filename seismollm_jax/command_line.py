"""What the scripts at the top level share: how they start and how they fail."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from seismollm_jax import parallel

TRACEBACK = "SEISMOLLM_TRACEBACK"  # environment variable; set, errors keep their traceback


def define_cluster_flags() -> None:
    """Defines the flags by which a process finds the others of its run."""
    flags.DEFINE_bool(
        "distributed", None, "One of several processes; JAX finds the others on known clusters."
    )
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0.")
    flags.DEFINE_integer("num_processes", None, "Number of processes.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)


def start_cluster() -> None:
    """Joins the other processes, as the flags of `define_cluster_flags` say."""
    given = flags.FLAGS
    cluster = parallel.Cluster(given.coordinator_address, given.num_processes, given.process_id)
    parallel.start(given.distributed, cluster)


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a script's `main`; bad input ends it with a message and exit code 1.

    The errors that this project and its libraries raise for bad input say what is wrong and what
    to do, so a traceback would only hide that. Set SEISMOLLM_TRACEBACK=1 to see it.
    """
    app.run(lambda argv: guarded(lambda: main(argv)), flags_parser=_parse)


def guarded(call: Callable[[], None]) -> None:
    """Calls; bad input ends the program with a message and exit code 1."""
    logging.set_verbosity(logging.WARNING)  # Orbax writes a page for every checkpoint
    try:
        call()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        _fail(f"{type(error).__name__}: {error}")


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; a bad configuration file or override ends with a message."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        # An error of a configuration file comes with its whole traceback; its last line says it.
        before, traceback, inside = (
            str(error).strip().partition("Traceback (most recent call last)")
        )
        reason = f" {inside.strip().splitlines()[-1]}" if traceback else ""
        _fail(f"{before.strip()}{reason}\nSee --help")
    except (AttributeError, KeyError) as error:
        # The text of the field's name and a proposal arrives quoted twice.
        reason = str(error).replace("\\n", ". ").replace("\\'", "").strip("'\"")
        _fail(f"the configuration has no field {reason} (docs/configuration.md lists them all)")
    except (TypeError, ValueError, OSError, ImportError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    if os.environ.get(TRACEBACK):
        raise  # the error being handled
    sys.exit(f"{Path(sys.argv[0]).name}: {message}\n({TRACEBACK}=1 shows where)")
