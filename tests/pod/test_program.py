"""The real training step, lowered for a mesh and compiled: on this machine, and for TPUs."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from seismollm_jax import parallel
from seismollm_jax.pod import chips, program, report, run
from seismollm_jax.pod.collectives import GRADIENTS, STATISTICS, Collective
from tests import setups

ROOT = Path(__file__).parents[2]
# The compiler's words for two kinds of programs that are too large.
TEMPORARIES = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
    "(480.00G) exceeds available HBM (15.75G)."
)
ALL = (
    "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 32.50G of 15.75G hbm. "
    "Exceeded hbm capacity by 16.75G."
)


def mesh(slice_: chips.Slice) -> chips.Mesh:
    places = np.stack(np.indices(slice_.shape), -1).reshape(-1, 1, len(slice_.shape))
    return chips.Mesh(slice_, ("data", "fsdp"), places)


@pytest.fixture(scope="module")
def lowered() -> program.Program:
    """Of a tiny picker, for the eight devices of the tests."""
    return program.lower(setups.config("picking"), setups.layout(8), batch_per_chip=2)


@pytest.mark.parametrize("task", setups.TASKS)
def test_every_task_lowers(task: str) -> None:
    found = program.lower(setups.config(task), setups.layout(2), batch_per_chip=3)
    assert found.batch_size == 6
    assert found.flops > 0
    assert 0 < found.trainable <= found.parameters
    assert found.gradient_bytes == 4 * found.trainable


def test_operations_of_a_chip_grow_with_its_batch_alone(lowered: program.Program) -> None:
    alone = program.lower(setups.config("picking"), setups.layout(1), batch_per_chip=4)
    # But for the kernels that are composed once for a batch.
    assert alone.flops == pytest.approx(2 * lowered.flops, rel=1e-3)


def test_compiled_for_this_machine(
    lowered: program.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = program.compile_program(lowered, "cpu", tmp_path / "new" / "cache")
    assert not found["cached"]
    assert found["hbm_bytes"] > 0
    parts = [Collective(**one) for one in found["collectives"]]
    assert {part.operation for part in parts} == {"all-reduce"}
    assert {part.group for part in parts} == {8}
    assert {tuple(part.axes) for part in parts} == {("data",)}
    purposes = {part.purpose for part in parts}
    assert {GRADIENTS, STATISTICS} <= purposes
    # All gradients are reduced, besides the positions after the window's last.
    positions = 4 * 16 * (64 - 10)
    gradients = sum(part.bytes for part in parts if part.purpose == GRADIENTS)
    assert 0.8 * (lowered.gradient_bytes - positions) < gradients < lowered.gradient_bytes

    # Again: nothing is compiled.
    monkeypatch.setattr(type(lowered.lowered), "compile", lambda self: pytest.fail("compiled"))
    again = program.compile_program(lowered, "cpu", tmp_path / "new" / "cache")
    assert again == {**found, "cached": True}


def test_another_program_is_compiled_anew(lowered: program.Program, tmp_path: Path) -> None:
    class Refuses:
        def as_text(self) -> str:
            return "another"

        def compile(self):
            raise jax.errors.JaxRuntimeError("INTERNAL: no")

    other = dataclasses.replace(lowered, lowered=Refuses())
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        program.compile_program(other, "cpu", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_mesh_over_chosen_devices() -> None:
    layout = parallel.layout_over(jax.devices()[2:5])
    assert layout.devices == 3
    assert set(layout.mesh.devices.flat) == set(jax.devices()[2:5])
    assert layout.batched.spec == setups.layout(1).batched.spec


def test_wrong_batch() -> None:
    with pytest.raises(ValueError, match="--batch_per_chip=0 must be at least 1"):
        program.lower(setups.config("picking"), setups.layout(1), batch_per_chip=0)
    thirds = setups.config("picking", changes={"train.accumulate": 3})
    with pytest.raises(ValueError, match=r"train\.accumulate=3 micro-batches; choose a multiple"):
        program.lower(thirds, setups.layout(2), batch_per_chip=4)


@pytest.mark.parametrize(("words", "needed"), [(TEMPORARIES, 480.0), (ALL, 32.5), ("?", None)])
def test_how_much_is_needed(words: str, needed: float | None) -> None:
    assert program.needed_gib(words) == needed


def test_too_large_a_program_says_what_to_do(
    lowered: program.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TooLarge:
        def as_text(self) -> str:
            return "large"

        def compile(self):
            raise jax.errors.JaxRuntimeError(ALL)

    large = dataclasses.replace(lowered, lowered=TooLarge())
    monkeypatch.setattr(run, "layout_on", lambda slice_, fsdp: setups.layout(8))
    monkeypatch.setattr(run, "lower", lambda *arguments: large)
    monkeypatch.setattr(run, "mesh_on", lambda slice_, layout: mesh(slice_))
    monkeypatch.setattr(run, "other_meshes", lambda slice_, fsdp: [])
    file = tmp_path / "report.json"
    for _ in range(2):  # from the compiler, then from the cache
        with pytest.raises(run.DoesNotFitError) as caught:
            run.run(
                setups.config("picking"),
                *("v5e:4x4", 64),
                json_file=str(file),
                cache=tmp_path / "cache",
            )
        message = str(caught.value)
        assert "v5e:4x4, does not fit: needs at least 32.5 GiB; a chip has 15.75 GiB" in message
        assert "--batch_per_chip=27" in message
        assert "--config.precision.compute=bfloat16" in message
        assert "--config.train.rematerialise=True" in message
        assert "mesh.fsdp" not in message  # the parameters are not what takes the memory
    assert json.loads(file.read_text())["fits"] is False
    assert "at least 32.50 of 15.75: does not fit" in run.table([str(file)])


def test_reports(
    lowered: program.Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = program.compile_program(lowered, "cpu", tmp_path)
    slice_ = chips.parse("v6e:2x4")
    others = [mesh(chips.Slice(slice_.chip, shape)) for shape in chips.SHAPES[2]]
    values = report.make(setups.config("picking"), mesh(slice_), others, 2, lowered, found)
    assert values["batch_size"] == 16
    memory = values["memory"]
    assert memory["peak"] >= memory["argument"] + memory["temp"]
    assert values["roofline"]["hbm_s"] == found["hbm_bytes"] / 1600e9
    assert values["alone_s"] == values["roofline"]["hbm_s"]  # no estimate on this machine
    assert values["scaling"][-1]["chips"] == 256
    text = report.as_text(values)
    for words in (
        "v6e:2x4: 8 chips",
        "all-reduce, batch norm",
        "v6e:16x16",
        "Nothing was measured",
    ):
        assert words in text, words

    file = tmp_path / "report.json"
    file.write_text(report.as_json(values))
    table = run.table([str(file), str(file)]).splitlines()
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| picking | 640 | 0.0 | float32 |  | v6e:2x4 | 2 |")

    changes = {"train.accumulate": 2, "train.rematerialise": True, "optim.average": 0.9}
    config = setups.config("picking", changes=changes)
    values = report.make(config, mesh(slice_), others, 2, lowered, found)
    assert "2 micro-batches, rematerialised, averaged" in report.as_text(values)
    large = {"parameters": 10**9, "fits": False, "needed_gib": 32.5}
    assert "Try --batch_per_chip=1, --config.precision" in report.why_not({**values, **large})
    assert "a larger --config.mesh.fsdp, a shorter" in report.why_not({**values, **large})
    large |= {"parameters": 2 * 10**9, "trainable": 2 * 10**9}
    assert "Try a larger --config.mesh.fsdp, --batch" in report.why_not({**values, **large})


def test_a_table_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    for text in ("{}", "no json", "[1]"):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"other\.json is no report of this command"):
            run.table([str(file)])


def command(*arguments: str, without_libtpu: bool = False, fails: bool = False) -> str:
    code = "import sys, runpy; sys.argv[0] = 'pod'; "
    if without_libtpu:
        code += "sys.modules['libtpu'] = None; "
    code += "runpy.run_module('seismollm_jax.pod', run_name='__main__')"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (result.returncode != 0) == fails, result.stdout
    assert "Traceback" not in result.stdout
    return result.stdout


SMOKE = "--config=configs/picking.py:smoke"


def test_without_the_compiler() -> None:
    options = ("--topology=v5e:2x2", "--batch_per_chip=2", "--json=x", "--cache=y")
    message = command(SMOKE, *options, without_libtpu=True, fails=True)
    assert "pip install -e '.[tpu]'" in message


def test_missing_arguments() -> None:
    assert "--config and --topology are needed" in command(SMOKE, fails=True)
    assert "--table needs the JSON files" in command("--table", fails=True)


def test_a_shape_that_hosts_do_not_make() -> None:
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs, the extra `tpu`")
    with pytest.raises(ValueError, match=r"--topology=v5e:3x3: .*hosts have 2x2 chips"):
        program.layout_on(chips.parse("v5e:3x3"))


@pytest.mark.parametrize("topology", ["v5e:1x1", "v5e:16x16", "v6e:2x4", "v5p:4x4x4", "v4:2x2x2"])
def test_meshes_have_a_device_for_each_chip(topology: str) -> None:
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs, the extra `tpu`")
    slice_ = chips.parse(topology)
    layout = program.layout_on(slice_)
    assert layout.devices == slice_.chips
    places = program.mesh_on(slice_, layout).group(("data", "fsdp"))
    assert len({tuple(place) for place in places}) == slice_.chips
    assert tuple(places.max(0) + 1) == slice_.shape


def test_arrays_are_split_over_neighbours() -> None:
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs, the extra `tpu`")
    meshes = program.other_meshes(chips.parse("v5e:16x16"), fsdp=4)
    assert [mesh.slice_.chips for mesh in meshes] == [4, 8, 16, 32, 64, 128, 256]
    for mesh in meshes:
        split = mesh.group(("fsdp",))
        assert len(split) == 4
        assert np.ptp(split, axis=0).sum() <= 3
    with pytest.raises(
        ValueError, match=r"mesh\.fsdp=16 cannot be laid on these 256 chips: 16 x 16"
    ):
        program.layout_on(chips.parse("v5p:4x8x8"), 16)


def test_compiled_for_a_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all that changes the program: split arrays, micro-batches, averaged weights."""
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs, the extra `tpu`")

    def layout(slice_: chips.Slice, fsdp: int) -> parallel.Layout:
        return dataclasses.replace(program.layout_on(slice_, fsdp), split_from=256)

    monkeypatch.setattr(run, "layout_on", layout)  # the arrays of this network are small
    changes = {
        "backbone.tuning": "full",
        "mesh.fsdp": 4,
        "train.accumulate": 2,
        "train.rematerialise": True,
        "optim.average": 0.9,
        "optim.clip_norm": 1.0,
    }
    config = setups.config("magnitude", changes=changes)
    options = {"json_file": str(tmp_path / "report.json"), "cache": tmp_path / "cache"}
    found = run.run(config, "v5e:16x16", 2, **options)
    said = capsys.readouterr().out
    assert "v5e:16x16: 256 chips, 2 windows on each, 512 in a batch" in said
    assert "split over 4, 2 micro-batches, rematerialised, averaged" in said
    assert found == json.loads((tmp_path / "report.json").read_text())
    assert found["fits"]
    assert found["compiler_estimate_s"] > 0
    assert found["bytes_moved"]["hbm"] > 0
    assert [point["chips"] for point in found["scaling"]] == [4, 8, 16, 32, 64, 128, 256]
    counts = {name: row["count"] for name, row in found["collectives"].items()}
    assert {"all-reduce, batch norm", "all-reduce, gradients"} <= set(counts)
    assert counts["all-gather, weights"] % 2 == 0  # in each micro-batch
    run.run(config, "v5e:16x16", 2, **options)
    assert "compiled before" in capsys.readouterr().out
