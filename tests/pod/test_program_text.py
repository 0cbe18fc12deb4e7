"""Reading the text of compiled programs: collectives, memory traffic, cycles."""

import pytest

from seismollm_jax.pod import traffic
from seismollm_jax.pod.collectives import Collective, find, totals

# As the compiler writes it, shortened.
PROGRAM = """\
HloModule jit_train_step, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

FileNames
1 "step.py"
2 "layers.py"

FunctionNames
1 "train_step"
2 "BatchNorm.__call__"
3 "_abs_sq"
4 "LayerNorm.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=70 end_line=70 column=35 end_column=35}
2 {file_name_id=2 function_name_id=2 line=85 end_line=85 column=19 end_column=19}
3 {file_name_id=2 function_name_id=3 line=9 end_line=9 column=1 end_column=2}
4 {file_name_id=2 function_name_id=4 line=12 end_line=12 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}
4 {file_location_id=4 parent_frame_id=2}


%fused_computation.1 (param_0: f32[8,8]) -> f32[8,8] {
  %inner.1 = f32[8,8]{1,0:T(8,128)} add(%param_0, %param_0), backend_config={"estimated_cycles":"9"}
}

ENTRY %main.5_spmd (param: f32[750,96], param.1: f32[8]) -> f32[8] {
  %param.1 = f32[8]{0:T(128)} parameter(1)
  %param = f32[750,96]{0,1:T(8,128)} parameter(0)
  %copy-start.1 = (f32[750,96]{0,1:T(8,128)S(1)}, f32[750,96]{0,1:T(8,128)}, u32[]{:S(2)}) copy-start(%param)
  %copy-done.1 = f32[750,96]{0,1:T(8,128)S(1)} copy-done(%copy-start.1)
  %fusion.1 = (f32[16]{0:T(128)S(1)}, bf16[750,3]{0,1:T(4,128)(2,1)}) fusion(%copy-done.1, %param), kind=kOutput, calls=%fused_computation.1, backend_config={"window_config":{"estimated_cycles":"14580","iteration_bounds":["1"]}}
  %gte.1 = f32[16]{0:T(128)S(1)} get-tuple-element(%fusion.1), index=0
  %gte.2 = bf16[750,3]{0,1:T(4,128)(2,1)} get-tuple-element(%fusion.1), index=1
  %all-reduce.1 = (f32[16]{0:T(128)S(1)}, f32[16]{0:T(128)S(1)}) all-reduce(%gte.1, %gte.1), channel_id=3, replica_groups=mesh['axis_0'=4,'axis_1'=2,'axis_2'=1] {'axis_0','axis_1'}, use_global_device_ids=true, to_apply=%region_2, metadata={op_name="jit(train_step)/jvp()/reduce_sum" stack_frame_id=3}
  %all-reduce.2 = f32[]{:T(128)} all-reduce(%c), channel_id=4, replica_groups=[1,8]<=[8], to_apply=%region_2, metadata={op_name="jit(train_step)/jvp()/reduce_sum" stack_frame_id=1}
  %all-reduce-start.3 = bf16[768,64]{1,0:T(8,128)(2,1)} all-reduce-start(%gte.2), channel_id=5, replica_groups={{0,1,2,3},{4,5,6,7}}, metadata={op_name="jit(train_step)/transpose(jvp())/dot_general" stack_frame_id=4}
  %all-reduce-done.3 = bf16[768,64]{1,0:T(8,128)(2,1)} all-reduce-done(%all-reduce-start.3)
  %fusion.6 = f32[100]{0:T(128)S(1)} fusion(), kind=kOutput, metadata={op_name="jit(train_step)/transpose(jvp())/dot_general" stack_frame_id=4}
  %copy.6 = f32[100]{0:T(128)S(1)} copy(%fusion.6)
  %all-reduce.6 = (f32[16]{0:T(128)S(1)}, f32[100]{0:T(128)S(1)}) all-reduce(%gte.1, %copy.6), channel_id=6, replica_groups={}, metadata={op_name="jit(train_step)/transpose(jvp())/reduce_sum" stack_frame_id=2}
  %all-gather-start.4 = (f32[2,100]{1,0}, f32[16,100]{1,0}, u32[], u32[]) all-gather-start(%x), replica_groups=[1,8]<=[8], dimensions={0}
  %all-gather-done.4 = f32[16,100]{1,0} all-gather-done(%all-gather-start.4)
  ROOT %reduce-scatter.5 = f32[10]{0:T(128)} reduce-scatter(%y), replica_groups=[2,4]<=[8], metadata={op_name="jit(train_step)/transpose(jvp())/x" stack_frame_id=2}, backend_config={"estimated_cycles":"20"}
}

%later (p: f32[1]) -> f32[1] {
  %z = f32[1000]{0} copy(%p), backend_config={"estimated_cycles":"7"}
}
"""  # noqa: E501


def test_collectives() -> None:
    assert find(PROGRAM) == [
        Collective("all-reduce", 2 * 16 * 4, 8, "batch norm"),  # in a function that it calls
        Collective("all-reduce", 4, 8, "other"),
        Collective("all-reduce", 768 * 64 * 2, 4, "gradients"),  # once, not at its end again
        # Several in one: what most of it is, although it bears the name of another.
        Collective("all-reduce", (16 + 100) * 4, 0, "gradients"),
        Collective("all-gather", 16 * 100 * 4, 8, "other"),  # the result, not the operand
        Collective("reduce-scatter", 10 * 4 * 4, 4, "batch norm"),  # the whole, not the share
    ]


def test_totals() -> None:
    table = totals(find(PROGRAM + PROGRAM[PROGRAM.index("  %all-reduce.2") :]))
    assert table["all-reduce, other"] == {"count": 2, "bytes": 8}
    assert table["all-reduce, batch norm"] == {"count": 1, "bytes": 128}
    assert sum(row["count"] for row in table.values()) == 11


def test_nothing_to_find() -> None:
    assert find("HloModule jit_f\n\nENTRY %main (p: f32[]) -> f32[] {\n}\n") == []


@pytest.mark.parametrize(
    ("array", "size", "in_hbm"),
    [
        ("f32[64,750,96]{1,2,0:T(8,128)}", 64 * 96 * 768 * 4, True),  # 750 filled up to 768
        ("bf16[8,1038,3]{0,2,1:T(4,128)(2,1)S(1)}", 1038 * 4 * 128 * 2, False),
        ("f32[5]{0:T(128)}", 512, True),
        ("f32[8,3]{1,0}", 96, True),  # as on other devices
        ("s32[]", 4, True),
        ("f32[]{:T(128)}", 4, True),
        ("pred[7]{0}", 7, True),
        ("s4[6]{0}", 3, True),
        ("f8e4m3fn[10]{0}", 10, True),
    ],
)
def test_arrays_take_whole_tiles(array: str, size: int, in_hbm: bool) -> None:
    assert traffic.array_bytes(array) == (size, in_hbm)


@pytest.mark.parametrize("array", ["mystery[3]", "f32", ""])
def test_no_array(array: str) -> None:
    with pytest.raises(ValueError, match="type"):
        traffic.array_bytes(array)


def test_traffic_is_what_lies_in_main_memory() -> None:
    whole = 96 * 768 * 4  # %param
    part = 4 * 768 * 2  # the second array of %fusion.1
    # The copy reads %param; the fusion reads it again, and what was copied is on the chip.
    fusion = whole + part
    sums = 4  # of all-reduce.2
    start = 768 * 128 * 2  # of all-reduce-start.3, whose operand is counted in its type
    gather = (2 + 16) * 100 * 4 + 4 + 4
    scatter = 512
    assert traffic.hbm_bytes(PROGRAM) == whole + fusion + sums + start + gather + scatter


def test_cycles_are_those_of_the_schedule() -> None:
    assert traffic.estimated_cycles(PROGRAM) == 14580 + 20
