"""What the scripts at the top level share: how they start, how they fail, and flags."""

import hashlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

from seismollm_jax import parallel

MIN_COMPILE_S = 0.2  # programs that compile faster are not kept
TRACEBACK = "SEISMOLLM_TRACEBACK"  # environment variable; set, errors keep their traceback

flags.disclaim_key_flags()  # flags defined here belong to the scripts, whose --help shows them


def define_cluster_flags() -> None:
    """Defines the flags by which a process finds the others of its run."""
    flags.DEFINE_bool(
        "distributed", None, "One of several processes; JAX finds the others on known clusters."
    )
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0.")
    flags.DEFINE_integer("num_processes", None, "Number of processes.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)


def define_threshold_flags() -> tuple[
    flags.FlagHolder[str | None], flags.FlagHolder[float | None], flags.FlagHolder[float | None]
]:
    """Defines the flags by which picks are decided: operating point, thresholds of P and of S."""
    from seismollm_jax.tasks import thresholds  # slow to import, and needed by two scripts alone

    point = flags.DEFINE_enum(
        "operating_point",
        None,
        thresholds.CHOICES,
        "Picking: thresholds of the best F1 of the validation (the default where the checkpoint "
        "has them), of few false picks on noise, or of the configuration.",
    )
    help_text = "Instead of the operating point's."
    p = flags.DEFINE_float("p_threshold", None, help_text, 0, 1)
    s = flags.DEFINE_float("s_threshold", None, help_text, 0, 1)
    return point, p, s


class _OptionalFile(flags.ArgumentParser[str]):
    syntactic_help = "a file, or nothing"

    def parse(self, argument: str) -> str:
        return "" if argument == "false" else argument


def define_optional_file_flag(name: str, help_text: str) -> flags.FlagHolder[str]:
    """Defines a flag that is given alone, with value "true", or with the name of a file."""
    flag = flags.Flag(_OptionalFile(), flags.ArgumentSerializer(), name, "", help_text)
    flag.boolean = True  # may be given without a value
    return flags.DEFINE_flag(flag)


def start_cluster() -> None:
    """Joins the other processes, as the flags of `define_cluster_flags` say.

    A process that is alone keeps its compiled programs for the next run, see `keep_programs`.
    """
    given = flags.FLAGS
    cluster = parallel.Cluster(given.coordinator_address, given.num_processes, given.process_id)
    parallel.start(given.distributed, cluster)
    if jax.process_count() == 1:
        keep_programs()


def keep_programs() -> None:
    """Lets JAX keep compiled programs in a folder of the user's, where nothing else is set.

    The folder is seismollm_jax/xla in XDG_CACHE_HOME or ~/.cache, with one folder in it for each
    type of processor, since unlike machines may share a home. JAX_COMPILATION_CACHE_DIR names
    another place, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. Nor is anything kept where
    the folder cannot be written, or on processors of Intel alone: XLA is reported to refuse their
    programs when it reads them, with pages of warnings (github.com/jax-ml/jax/issues/38445).
    """
    settings: Any = jax.config
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or settings.jax_compilation_cache_dir:
        return
    processor = _processor()
    if jax.default_backend() == "cpu" and "GenuineIntel" in processor:
        return
    name = f"{platform.machine()}-{hashlib.sha256(processor.encode()).hexdigest()[:12]}"
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = caches / "seismollm_jax" / "xla" / name
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or none to write to
        return
    if os.access(folder, os.W_OK):
        settings.update("jax_compilation_cache_dir", str(folder))
        settings.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_S)


def _processor() -> str:
    """Maker, model and abilities of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


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
