"""Which part may import which, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "seismollm_jax"
LEAVES = ("atomic_files", "parallel", "models", "data", "metrics")
SAVED = ("training.saved", "training.provenance")
TOP = ("training", "evaluation", "inference", "conversion")

# Part -> parts of the package that it may import besides itself.
ALLOWED = {
    "atomic_files": set(),
    "html_page": set(),
    "parallel": set(),
    "accelerators": set(),
    "metrics": set(),
    "data": {"atomic_files"},
    "data.__main__": {"data", "tasks"},
    "models": {"conversion.torch_files"},
    "conversion.torch_files": {"atomic_files"},
    "tasks": {"models", "data", "metrics"},
    "experiment": {"models", "data", "tasks"},
    "command_line": {"parallel", "tasks.thresholds"},
    "training": {*LEAVES, "accelerators", "tasks", "experiment", "evaluation"},
    "evaluation": {
        *(*LEAVES, "html_page", "tasks", "experiment", *SAVED),
        *("training.step", "command_line"),
    },
    "inference": {*LEAVES, "html_page", "tasks", "experiment", *SAVED, "training.step"},
    "inference.export": {*LEAVES, "tasks", "experiment", "inference", "command_line"},
    "conversion": {
        *(*LEAVES, "tasks", "experiment", *SAVED),
        *("training.backbone", "training.checkpoint", "training.optim"),
    },
    "pod": {
        *("parallel", "data", "experiment", "command_line"),
        *("training.optim", "training.step", "training.flops", "training.cost", "accelerators"),
    },
    "": {"inference.predictor", "inference.events.predictor"},  # the package's __init__
}
ONLY_IN = {
    "torch": ("conversion", "inference.seisbench_model"),
    "obspy": ("inference", "data.stream_files", "data.stream_traces", "data.catalogue_xml"),
    "orbax": ("training.checkpoint", "training.saved", "models.seismollm.pretrained", "conversion"),
    "grain": ("data.pipeline",),
    "tensorflow": (),
    "configs": (),
    "train": (),
    "eval": (),
    "predict": (),
    "convert_weights": (),
}
WITHOUT_JAX = ("data", "metrics")
# Folders of `inference`: each may import the ones before it, and none is imported by its modules.
FLOORS = ("events", "pictures", "archive")


def module_name(path: Path) -> str:
    """Dotted name below the package; "" for the package itself."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Full names of everything that a file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(path: Path) -> set[str]:
    """Modules of the package that a file imports, by their names below it."""
    found = set()
    for name in imported(path):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            rest = name.removeprefix(PACKAGE).removeprefix(".")
            while rest and rest not in MODULES:  # a function or class of the module
                rest = rest.rpartition(".")[0]
            found.add(rest)
    return found


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def rules_of(module: str) -> tuple[str, set[str]]:
    part = max((part for part in ALLOWED if within(module, part) or not part), key=len)
    return part, ALLOWED[part]


def test_the_reader_of_imports_sees_them() -> None:
    assert "tasks" in own(MODULES["experiment"])
    assert "data.augment" in own(MODULES["experiment"])
    assert own(MODULES[""]) == ALLOWED[""]  # inside a function
    assert len(MODULES) > 50


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    part, allowed = rules_of(module)
    for target in own(MODULES[module]):
        if target == "" or (part and within(target, part)):
            continue
        assert any(within(target, other) for other in allowed), f"{module} imports {target}"


def floor(module: str) -> int:
    """Place of a module of `inference` in `FLOORS`; -1 for those beside the folders."""
    folder = module.split(".")[1] if "." in module else ""
    return FLOORS.index(folder) if folder in FLOORS else -1


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "inference")])
def test_inference_is_built_floor_by_floor(module: str) -> None:
    for target in own(MODULES[module]):
        if within(target, "inference"):
            assert floor(target) <= floor(module), f"{module} imports {target}"


def test_every_folder_of_inference_has_its_floor() -> None:
    folders = {name.split(".")[1] for name in MODULES if name.startswith("inference.")}
    assert {f for f in folders if (ROOT / PACKAGE / "inference" / f).is_dir()} == set(FLOORS)


def test_nothing_imports_the_commands_on_data() -> None:
    """They know the tasks, which the rest of `data` must not."""
    assert not [module for module, path in MODULES.items() if "data.__main__" in own(path)]


def test_every_part_has_a_rule() -> None:
    parts = {name.split(".")[0] for name in MODULES}
    assert parts == {part.split(".")[0] for part in ALLOWED}


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_where_they_belong(library: str) -> None:
    for module, path in MODULES.items():
        uses = any(within(name, library) for name in imported(path))
        assert not uses or any(within(module, place) for place in ONLY_IN[library]), module


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[0] in WITHOUT_JAX])
def test_data_and_metrics_know_no_jax(module: str) -> None:
    libraries = {name.split(".")[0] for name in imported(MODULES[module])}
    assert not libraries & {"jax", "flax", "optax", "orbax"}


def test_modules_stay_small() -> None:
    lengths = {m: len(path.read_text().splitlines()) for m, path in MODULES.items()}
    assert {module: n for module, n in lengths.items() if n > 350} == {}


PROBE = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tensorflow", "seisbench"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(name)
print(sorted({"obspy", "transformers", "matplotlib"} & set(sys.modules)))
"""


def probe(*modules: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *modules], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_everything_is_importable_without_torch() -> None:
    names = [f"{PACKAGE}.{module}" if module else PACKAGE for module in MODULES]
    probe(*(name for name in names if not name.endswith("__main__")))


def test_loader_workers_start_light() -> None:
    """They import the package and the tasks, and there are many of them."""
    assert probe(f"{PACKAGE}.data.pipeline", f"{PACKAGE}.experiment").strip() == "[]"
