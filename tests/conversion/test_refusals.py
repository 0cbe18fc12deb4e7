"""Files with anything wrong in them make an error that says so, and nothing else."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.conversion import originals
from tests.models import tiny

TASKS = ("distance", "picking")
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
Arrays = dict[str, np.ndarray]


def arrays_refused(folder: Path, known: str | None, arrays: Arrays, **told: Any) -> str:
    source = originals.bare(folder / "model.safetensors", arrays)
    return originals.refused(source, originals.given(**{"task": known, **told}))


tasks_and_keys = st.sampled_from(TASKS).flatmap(
    lambda task: st.tuples(
        st.just(task),
        st.lists(st.sampled_from([*tiny.file_layout(task)]), min_size=1, max_size=3, unique=True),
    )
)


# -- names ---------------------------------------------------------------------------------------


@EXAMPLES
@given(tasks_and_keys, st.lists(st.sampled_from("drac"), min_size=3, max_size=3))
def test_names_deleted_renamed_added_and_doubled(
    tmp_path: Path, chosen: tuple[str, list[str]], kinds: list[str]
) -> None:
    task, keys = chosen
    arrays, expected = tiny.full_state_dict(task), []
    for key, kind in zip(keys, kinds, strict=False):
        other = f"{key[:-3]}x{key[-3:]}"
        if kind == "a":
            arrays[other] = arrays[key]
            expected.append(f"unexpected: {other}")
        elif kind == "c":
            arrays[f"module.{key}"] = arrays[key]
            message = arrays_refused(tmp_path, task, arrays)
            assert f"'{key}' occurs twice" in message
            return
        else:
            value = arrays.pop(key)
            expected.append(f"missing: {key}")
            if kind == "r":
                arrays[other] = value
                expected[-1] += f" (like {other}"
                expected.append(f"unexpected: {other} (like {key}")
    message = arrays_refused(tmp_path, task, arrays)
    # Where the network's sizes are told from a name that is not there, only such names are listed.
    if "unexpected: " not in message and "expected (" not in message:
        expected = [line for line in expected if line.startswith("missing: ")]
        expected = [line for line in expected if line.split(" (like ")[0] in message]
        assert expected
    assert [line for line in expected if line not in message] == [], message


def test_problems_are_listed_together(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("picking")
    arrays["out_head.up_layers.1.norm.weihgt"] = arrays.pop("out_head.up_layers.1.norm.weight")
    arrays["convs.0.norm.bias"] = np.zeros(9, np.float32)
    arrays["convs.2.norm.running_var"] = np.ones(16)
    arrays["extra"] = np.ones(1, np.float32)
    del arrays["convs.1.convs.2.norm.num_batches_tracked"]
    lines = arrays_refused(tmp_path, "picking", arrays).splitlines()
    assert lines[0].endswith("cannot be converted, 6 problems:")
    assert set(lines[1:]) == {
        "  missing: convs.1.convs.2.norm.num_batches_tracked",
        "  missing: out_head.up_layers.1.norm.weight (like out_head.up_layers.1.norm.weihgt)",
        "  unexpected: out_head.up_layers.1.norm.weihgt (like out_head.up_layers.1.norm.weight)",
        "  unexpected: extra",
        "  shape of convs.0.norm.bias: (9,), expected (8,)",
        "  type of convs.2.norm.running_var: float64; rounding it to float32 needs --lossy-casts",
    }


def test_sizes_that_cannot_be_told_are_listed_together(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("picking")
    arrays["convs.2.out_porj.weight"] = arrays.pop("convs.2.out_proj.weight")
    arrays["out_head.out_conv.weight"] = np.ones((), np.float32)
    lines = arrays_refused(tmp_path, "picking", arrays).splitlines()
    assert lines[0].endswith("cannot be converted, 2 problems:")
    assert lines[1].startswith("  missing: convs.2.out_proj.weight (like ")
    assert "convs.2.out_porj.weight" in lines[1]
    assert lines[2:] == ["  shape of out_head.out_conv.weight: ()"]


# -- shapes, types, values -----------------------------------------------------------------------


@EXAMPLES
@given(tasks_and_keys, st.data())
def test_shapes_changed(tmp_path: Path, chosen: tuple[str, list[str]], data: st.DataObject) -> None:
    task, keys = chosen
    arrays = tiny.full_state_dict(task)
    for key in keys:
        shape = list(arrays[key].shape)
        ways: list[list[int]] = [[*shape, 1], [1, *shape]]
        ways += [
            [*shape[:i], max(n + by, 0), *shape[i + 1 :]]
            for i, n in enumerate(shape)
            for by in (-1, 1)
        ]
        ways += [shape[::-1], [int(np.prod(shape))]]
        way = data.draw(st.sampled_from([way for way in ways if way != shape]))
        arrays[key] = np.ones(way, arrays[key].dtype)
    arrays_refused(tmp_path, task, arrays)


@EXAMPLES
@given(tasks_and_keys, st.sampled_from(["float64", "int64", "int32", "uint8", "float16", "int8"]))
def test_types_changed(tmp_path: Path, chosen: tuple[str, list[str]], dtype: str) -> None:
    task, (key, *_) = chosen
    arrays = tiny.full_state_dict(task)
    counter = arrays[key].dtype == np.int64
    assume(not (counter and dtype.startswith("int")) and (counter or dtype != "float16"))
    arrays[key] = arrays[key].astype(dtype)
    message = arrays_refused(tmp_path, task, arrays)
    assert f"type of {key}: {dtype}" in message
    assert (f"{dtype}; rounding it to float32 needs --lossy-casts" in message) == (
        dtype == "float64" and not counter
    )
    if dtype != "float64" or counter:  # no flag helps
        arrays_refused(tmp_path, task, arrays, lossy_casts=True)


@EXAMPLES
@given(tasks_and_keys, st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 1 << 30))
def test_values_that_are_not_finite(
    tmp_path: Path, chosen: tuple[str, list[str]], value: float, place: int
) -> None:
    task, (key, *_) = chosen
    arrays = tiny.full_state_dict(task)
    array = arrays[key]
    assume(array.size and array.dtype == np.float32)
    arrays[key] = array.copy()
    arrays[key].reshape(-1)[place % array.size] = value
    message = arrays_refused(tmp_path, task, arrays)
    assert f"{key} holds values that are not finite" in message


def test_values_beyond_float32(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("distance")
    arrays["out_head.lin.bias"] = np.array([1e39])
    message = arrays_refused(tmp_path, "distance", arrays, lossy_casts=True)
    assert "out_head.lin.bias holds values that are not finite" in message


# -- another network -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "told", "message"),
    [
        ("distance", {"task": None}, r"magnitude \(emg\) or distance \(dis\), .* --task"),
        ("polarity", {"task": None}, r"polarity \(pmp\) or back_azimuth \(baz\), .* --task"),
        ("distance", {"task": "polarity"}, r"magnitude \(emg\) or distance \(dis\), not polarity"),
        ("picking", {"task": "dis"}, r"its head is that of picking \(dpk\), not distance"),
        ("picking", {"strides": (2, 2, 2)}, r"4 embedder blocks .* strides for 3: .*--strides"),
        ("picking", {"strides": (2, 2, 2, 9)}, "at least its stride"),
        ("picking", {"window": 6000000}, "93750 tokens, more than the 256 positions"),
        ("picking", {"window": 0}, "window"),
    ],
)
def test_told_something_else(tmp_path: Path, task: str, told: dict[str, Any], message: str) -> None:
    assert re.search(message, arrays_refused(tmp_path, task, tiny.full_state_dict(task), **told))


def test_other_networks(tmp_path: Path) -> None:
    arrays = tiny.full_state_dict("distance")
    prefix = "llm_blocks.llm.base_model.model."
    gpt2 = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    assert "not a SeisMoLLM" in arrays_refused(tmp_path, "distance", gpt2)
    three = arrays | {"out_head.lin.weight": np.ones((5, 8), np.float32)}
    assert "5 outputs" in arrays_refused(tmp_path, None, three)
    one = {k: v[:1, :1] if k == "convs.0.convs.0.in_proj.weight" else v for k, v in arrays.items()}
    assert "1 components" in arrays_refused(tmp_path, "distance", one)
