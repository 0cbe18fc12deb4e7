"""Reading the text of compiled programs: collectives, memory traffic, cycles."""

import pytest

from seismollm_jax.pod import computations, traffic
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

%all-reduce-scatter.7 (input: f32[64,8]) -> f32[16,8] {
  %input = f32[64,8]{1,0:T(8,128)} parameter(0)
  %all-reduce.7 = f32[64,8]{1,0:T(8,128)} all-reduce(%input), channel_id=7, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%region_2
  ROOT %dynamic-slice.7 = f32[16,8]{1,0:T(8,128)} dynamic-slice(%all-reduce.7, %partition-id.1), dynamic_slice_sizes={16,8}
}

%fused_computation.8 (param_0: f32[16,8]) -> (f32[16,8], f32[64,8]) {
  ROOT %all-gather.8 = (f32[16,8]{1,0:T(8,128)}, f32[64,8]{1,0:T(8,128)}) all-gather-start(%param_0), channel_id=8, replica_groups=mesh['axis_0'=4,'axis_1'=2], device_ids=([2,4]T(1,0)) {'axis_0'}, metadata={op_name="jit(train_step)/while/body/jvp()/sharding_constraint" stack_frame_id=1}
}

%async_collective_fusion.8 (param_0: f32[16,8], param_1: f32[64,8]) -> (f32[4], f32[64,8]) {
  %all-gather.9 = (f32[16,8]{1,0:T(8,128)}, f32[64,8]{1,0:T(8,128)}) all-gather-start(%param_0), channel_id=8, replica_groups=mesh['axis_0'=4,'axis_1'=2], device_ids=([2,4]T(1,0)) {'axis_0'}, metadata={op_name="jit(train_step)/while/body/jvp()/sharding_constraint" stack_frame_id=1}
}

%condition (carry: (s32[], f32[16,8])) -> pred[] {
  %length = s32[]{:T(128)} constant(5)
  %turn = s32[]{:T(128)} get-tuple-element(%carry), index=0
  ROOT %lt = pred[]{:T(512)} compare(%turn, %length), direction=LT
}

%body (carry: (s32[], f32[16,8])) -> (s32[], f32[16,8]) {
  %part = f32[16,8]{1,0:T(8,128)} get-tuple-element(%carry), index=1
  %async-collective-start.1 = (f32[16,8]{1,0:T(8,128)}, f32[64,8]{1,0:T(8,128)}) fusion(%part), kind=kCustom, output_to_operand_aliasing={{0}: (0, {})}, calls=%fused_computation.8
  %gte.8 = f32[16,8]{1,0:T(8,128)} get-tuple-element(%async-collective-start.1), index=0
  %gte.9 = f32[64,8]{1,0:T(8,128)} get-tuple-element(%async-collective-start.1), index=1
  %fusion.8 = (f32[4]{0:T(128)}, f32[64,8]{1,0:T(8,128)}) fusion(%gte.8, %gte.9), kind=kOutput, output_to_operand_aliasing={{1}: (1, {})}, calls=%async_collective_fusion.8, backend_config={"estimated_cycles":"30"}
  ROOT %next = (s32[], f32[16,8]) tuple(%turn, %part)
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
  %fusion.7 = f32[16,8]{1,0:T(8,128)} fusion(%whole), kind=kCustom, calls=%all-reduce-scatter.7, metadata={op_name="jit(train_step)/transpose(jvp())/dot_general" stack_frame_id=4}
  %while.1 = (s32[], f32[16,8]) while(%begin), condition=%condition, body=%body, metadata={op_name="jit(train_step)/while" stack_frame_id=1}
  %gte.10 = f32[100]{0:T(128)S(1)} get-tuple-element(%while.1), index=1
  %all-reduce.10 = f32[100]{0:T(128)S(1)} all-reduce(%gte.10), channel_id=10, replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%region_2
  ROOT %reduce-scatter.5 = f32[10]{0:T(128)} reduce-scatter(%y), replica_groups=[2,4]<=[8], metadata={op_name="jit(train_step)/transpose(jvp())/x" stack_frame_id=2}, backend_config={"estimated_cycles":"20"}
}

%later (p: f32[1]) -> f32[1] {
  %z = f32[1000]{0} copy(%p), backend_config={"estimated_cycles":"7"}
}
"""  # noqa: E501


MESH = {"data": 2, "fsdp": 4}
ALL = ("data", "fsdp")


def test_collectives() -> None:
    assert find(PROGRAM, MESH) == [
        Collective("all-reduce", 2 * 16 * 4, 8, "batch norm", ALL),  # in a function that it calls
        Collective("all-reduce", 4, 8, "other", ALL),
        # Once, not at its end again.
        Collective("all-reduce", 768 * 64 * 2, 4, "gradients", ("fsdp",)),
        # Several in one: what most of it is, although it bears the name of another.
        Collective("all-reduce", (16 + 100) * 4, 0, "gradients", ALL),
        Collective("all-gather", 16 * 100 * 4, 8, "other", ALL),  # the result, not the operand
        Collective("all-reduce", 100 * 4, 2, "gradients", ("data",)),  # summed up by the loop
        # The whole, not the share.
        Collective("reduce-scatter", 10 * 4 * 4, 4, "batch norm", ("fsdp",)),
        # A fusion, which says what it is for.
        Collective("reduce-scatter", 64 * 8 * 4, 4, "gradients", ("fsdp",)),
        # In a loop, and named in two fusions.
        Collective("all-gather", 64 * 8 * 4, 4, "weights", ("fsdp",), times=5),
    ]


def test_totals() -> None:
    table = totals(find(PROGRAM, MESH))
    assert table["all-reduce, other"] == {"count": 1, "bytes": 4}
    assert table["all-reduce, gradients"]["count"] == 3
    assert table["all-gather, weights"] == {"count": 5, "bytes": 5 * 64 * 8 * 4}
    assert sum(row["count"] for row in table.values()) == 13


def test_nothing_to_find() -> None:
    assert find("HloModule jit_f\n\nENTRY %main (p: f32[]) -> f32[] {\n}\n", MESH) == []
    assert find("", MESH) == []


def test_how_often_a_loop_turns() -> None:
    def turns(text: str) -> int:
        (body,) = [part for part in computations.used(text) if part.name == "body"]
        return body.times

    assert turns(PROGRAM) == 5
    known = 'body=%body, backend_config={"known_trip_count":{"n":"7"}}'
    assert turns(PROGRAM.replace("body=%body", known)) == 7
    unknown = PROGRAM.replace(
        "%length = s32[]{:T(128)} constant(5)", "%length = s32[] parameter(1)"
    )
    with pytest.raises(ValueError, match=r"no known number of turns: %while\.1"):
        turns(unknown)


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
    cut = 16 * 128 * 4  # of %fusion.7
    # In each turn of the loop the gathered array is written once, not by each fusion that it passes
    # through; and it is read by the one that gets it as a whole.
    loop = 5 * (64 * 128 * 4 + 512 + 16 * 128 * 4)
    known = whole + fusion + sums + start + gather + scatter
    assert traffic.hbm_bytes(PROGRAM) == known + cut + loop


def test_cycles_are_those_of_the_schedule() -> None:
    assert traffic.estimated_cycles(PROGRAM) == 14580 + 20 + 5 * 30


SLICES = """\
%inner (p.1: bf16[64,128]) -> bf16[16,128] {
  %p.1 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %slice.1 = bf16[16,128]{1,0:T(8,128)(2,1)} slice(%p.1), slice={[0:16], [0:128]}
}

%product (p.2: bf16[64,128], p.3: bf16[64,128], p.4: bf16[64,128]) -> bf16[64,128] {
  %p.2 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %p.3 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(1)
  %p.4 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(2)
  %whole = bf16[16,128]{1,0:T(8,128)(2,1)} reduce-window(%p.4), window={}
  %turned = bf16[16,128]{1,0:T(8,128)(2,1)} fusion(%p.3), kind=kLoop, calls=%inner
  %view = bf16[64,128]{1,0:T(8,128)(2,1)} bitcast(%p.3)
  %other = bf16[8,128]{1,0:T(8,128)(2,1)} dynamic-slice(%view, %c), dynamic_slice_sizes={8,128}
  %sum = bf16[16,128]{1,0:T(8,128)(2,1)} custom(%turned, %other, %whole)
  %back = bf16[16,128]{1,0:T(8,128)(2,1)} bitcast(%sum)
  ROOT %update.1 = bf16[64,128]{1,0:T(8,128)(2,1)} dynamic-update-slice(%p.2, %back, %c, %c)
}

%both (p.5: bf16[64,128]) -> (bf16[64,128], f32[8,128]) {
  %p.5 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %few = bf16[8,128]{1,0:T(8,128)(2,1)} constant({...})
  %ones = f32[8,128]{1,0:T(8,128)} constant({...})
  %update.2 = bf16[64,128]{1,0:T(8,128)(2,1)} dynamic-update-slice(%p.5, %few, %c, %c)
  ROOT %two = (bf16[64,128]{1,0:T(8,128)(2,1)}, f32[8,128]{1,0:T(8,128)}) tuple(%update.2, %ones)
}

%made (p.6: bf16[8,128]) -> bf16[64,128] {
  %p.6 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %zeros = bf16[64,128]{1,0:T(8,128)(2,1)} broadcast(%c)
  ROOT %update.3 = bf16[64,128]{1,0:T(8,128)(2,1)} dynamic-update-slice(%zeros, %p.6, %c, %c)
}

%turned_whole (p.7: bf16[64,128]) -> bf16[64,128] {
  %p.7 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %view.7 = bf16[64,128]{1,0:T(8,128)(2,1)} bitcast(%p.7)
}

ENTRY %main (x: bf16[64,128], y: bf16[64,128]) -> bf16[64,128] {
  %x = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %y = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(1)
  INSTRUCTION
}
"""
HBM, CHIP = "{1,0:T(8,128)(2,1)}", "{1,0:T(8,128)(2,1)S(1)}"
ROW = 128 * 2  # bytes


@pytest.mark.parametrize(
    ("instruction", "size"),
    [
        (f"%s = ((bf16[64,128]{HBM}), bf16[8,128]{CHIP}, s32[]{{:S(2)}}) slice-start(%x)", 8 * ROW),
        (f"%s = bf16[8,128]{HBM} slice(%x), slice={{}}", 16 * ROW),
        (f"%s = bf16[8,128]{HBM} dynamic-slice(%x, %c)", 16 * ROW),
        (f"%s = bf16[64,128]{HBM} custom-call(), custom_call_target='AllocateBuffer'", 0),
        # Nothing is there before, and a fusion that hands on the whole.
        (f"%s = bf16[64,128]{HBM} fusion(%few), kind=kLoop, calls=%made", 64 * ROW),
        (f"%s = bf16[64,128]{HBM} fusion(%x), kind=kLoop, calls=%turned_whole", 128 * ROW),
        # What is replaced; two slices of %x, the one after the other; all of %y.
        (
            f"%s = bf16[64,128]{HBM} fusion(%y, %x, %y), calls=%product",
            (16 + (16 + 8) + 64) * ROW,
        ),
        (f"%s = bf16[64,128]{CHIP} fusion(%y, %x, %y), calls=%product", (16 + 8 + 64) * ROW),
        (
            f"%s = (bf16[64,128]{HBM}, f32[8,128]{{1,0:T(8,128)}}) fusion(%x), calls=%both",
            (8 + 8 * 2) * ROW,
        ),
        (f"%s = bf16[64,128]{HBM} add(%x, %y)", 3 * 64 * ROW),
    ],
)
def test_of_slices_no_more_than_they_are(instruction: str, size: int) -> None:
    text = SLICES.replace("INSTRUCTION", instruction.replace("'", '"'))
    assert traffic.hbm_bytes(text) == size
