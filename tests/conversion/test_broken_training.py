"""Training files whose optimiser, schedule or bytes are not as they should be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seismollm_jax.conversion import safetensors_files
from seismollm_jax.conversion.opening import open_network
from tests.conversion import originals
from tests.conversion.damage import flipped, storage_places
from tests.models import tiny

# Positions of parameters: the first of all, the empty embedding, a layer of GPT-2 that is frozen.
FIRST, EMBEDDING, FROZEN = 0, 76, 80
PARAMETERS = tiny.parameter_order("distance")
Change = Callable[[dict[str, Any]], Any]


def state(content: dict[str, Any], index: int = FIRST) -> dict[str, Any]:
    return content["optimizer_dict"]["state"][index]


def group(**changes: Any) -> Change:
    return lambda content: content["optimizer_dict"]["param_groups"][0].update(changes)


def schedule(**changes: Any) -> Change:
    return lambda content: content["scheduler_dict"].update(changes)


def moment(**changes: Any) -> Change:
    return lambda content: state(content).update(changes)


def stepped(value: float) -> Change:
    """All parameters have made so many steps."""
    count = np.asarray(value, np.float32)
    return lambda content: [
        one.update(step=count) for one in content["optimizer_dict"]["state"].values()
    ]


def copied(index: int) -> Change:
    """Another parameter gets the state of the first."""

    def change(content: dict[str, Any]) -> None:
        content["optimizer_dict"]["state"][index] = dict(state(content))

    return change


def replaced(part: str, value: Any) -> Change:
    return lambda content: content.update({part: value})


def second_group(content: dict[str, Any]) -> None:
    groups = content["optimizer_dict"]["param_groups"]
    groups.append({**groups[0], "params": []})


FIRST_SHAPE = (3, 3, 1)
UNFINISHED = np.full(FIRST_SHAPE, np.nan, np.float32)
CASES: dict[str, tuple[Change, str]] = {
    "no state of one": (
        lambda content: content["optimizer_dict"]["state"].pop(FIRST),
        f"no moments of {PARAMETERS[FIRST]}, which learns",
    ),
    "state of a frozen one": (
        copied(FROZEN),
        f"moments of {PARAMETERS[FROZEN]}, which does not learn here",
    ),
    "state of the embedding": (
        copied(EMBEDDING),
        f"moments of {PARAMETERS[EMBEDDING]}, which does not learn here",
    ),
    "state of none": (copied(146), "moments of a parameter that does not exist: number 146"),
    "state by name": (copied("x"), "moments of a parameter that does not exist: number x"),  # type: ignore[arg-type]
    "other steps": (
        moment(step=np.asarray(3, np.float32)),
        "different numbers of steps: [2.0, 3.0]",
    ),
    "half a step": (stepped(2.5), "moments after 2.5 steps"),
    "no step yet": (stepped(0), "moments after 0.0 steps"),
    "negative step": (stepped(-2), "moments after -2.0 steps"),
    "step not finite": (moment(step=np.asarray(np.nan, np.float32)), "nan"),
    "no step": (lambda content: state(content).pop("step"), "incomplete: KeyError 'step'"),
    "no moment": (lambda content: state(content).pop("exp_avg_sq"), "exp_avg_sq"),
    "moment of another shape": (
        moment(exp_avg=np.ones((3, 3), np.float32)),
        f"shape of exp_avg of {PARAMETERS[FIRST]}: (3, 3), expected (3, 3, 1)",
    ),
    "moment of another type": (
        moment(exp_avg=np.ones(FIRST_SHAPE)),
        f"type of exp_avg of {PARAMETERS[FIRST]}: float64, expected float32",
    ),
    "moment not finite": (
        moment(exp_avg_sq=UNFINISHED),
        f"exp_avg_sq of {PARAMETERS[FIRST]} holds values that are not finite",
    ),
    "moment no tensor": (moment(exp_avg="x"), "exp_avg"),
    "betas": (group(betas=(0.9, 0.99)), "Adam with betas=(0.9, 0.99)"),
    "epsilon": (group(eps=1e-6), "eps=1e-06; here they are"),
    "amsgrad": (group(amsgrad=True), "optimiser option amsgrad=True is not known"),
    "maximize": (group(maximize=True), "optimiser option maximize=True is not known"),
    "several groups": (second_group, "several parameter groups"),
    "fewer parameters": (
        group(params=list(range(145))),
        "the optimiser knows 145 parameters, the network has 146",
    ),
    "other order": (group(params=[1, 0, *range(2, 146)]), "parameters"),
    "no groups": (lambda content: content["optimizer_dict"].update(param_groups=[]), "incomplete"),
    "optimiser a list": (replaced("optimizer_dict", [1]), "incomplete"),
    "optimiser an array": (replaced("optimizer_dict", np.ones(3, np.float32)), "incomplete"),
    "state a list": (lambda content: content["optimizer_dict"].update(state=[3]), "incomplete"),
    "one state a number": (
        lambda content: content["optimizer_dict"]["state"].update({FIRST: 3}),
        "incomplete",
    ),
    "no schedule": (replaced("scheduler_dict", None), "incomplete"),
    "schedule an array": (replaced("scheduler_dict", np.ones(3, np.float32)), "incomplete"),
    "schedule decaying": (schedule(mode="triangular2"), "not a plain triangular cycle"),
    "schedule of momentum": (schedule(cycle_momentum=True), "not a plain triangular cycle"),
    "schedule not begun": (schedule(last_epoch=-1), "the schedule stands at step -1"),
    "schedule in two groups": (schedule(base_lrs=[1e-3, 1e-3]), "incomplete"),
    "schedule without end": (schedule(total_size=np.inf), "incomplete"),
    "schedule without rise": (schedule(step_ratio=0.0), "a cycle of 7.0 steps that rises for 0.0"),
    "schedule between steps": (schedule(step_ratio=0.5), "a cycle of 7.0 steps that rises for 0.5"),
    "rate not finite": (schedule(max_lrs=[np.nan]), "nan"),
    "loss a text": (replaced("loss", "x"), "incomplete"),
    "epoch a text": (replaced("epoch", "x"), "incomplete"),
}


@pytest.mark.parametrize("case", CASES)
def test_training_that_cannot_be_continued(tmp_path: Path, case: str) -> None:
    change, message = CASES[case]
    source = originals.original(tmp_path / "model.pth", "distance", change)
    lines = originals.refused(source, originals.given("distance")).splitlines()
    assert lines[0].endswith("cannot be converted, 1 problem:")
    assert message in lines[1]
    assert lines[1].endswith("; --weights-only leaves optimiser and schedule out")
    told = originals.given("distance", weights_only=True)
    network = open_network(source, told, originals.config_for)
    assert network.training() is None
    assert network.description["progress"]["step"] == 0


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for part in (group(amsgrad=True), schedule(mode="x"), copied(FROZEN), copied(999)):
            part(content)
        del content["model_dict"]["convs.0.norm.bias"]
        content["model_dict"]["out_head.lin.bias"] = np.ones(2, np.float32)

    source = originals.original(tmp_path / "model.pth", "distance", change)
    message = originals.refused(source, originals.given("distance"))
    assert "6 problems" in message
    for part in ("convs.0.norm.bias", "lin.bias", "amsgrad", "triangular", "c_attn", "number 999"):
        assert part in message


# -- bytes ---------------------------------------------------------------------------------------


def test_flipped_bits_of_a_training_file(tmp_path: Path) -> None:
    source = originals.original(tmp_path / "model.pth", "distance")
    whole, places = source.read_bytes(), storage_places(source)
    for i in range(0, len(places), len(places) // 12):
        source.write_bytes(flipped(whole, places[i], i % 8))
        assert "truncated or damaged" in originals.refused(source, originals.given("distance"))


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_truncated_files(tmp_path: Path, kind: str) -> None:
    arrays = tiny.full_state_dict("distance")
    source = tmp_path / f"model.{kind}"
    if kind == "pth":
        originals.save(source, arrays)
    else:
        originals.bare(source, arrays)
    whole = source.read_bytes()
    for length in (0, 3, 200, len(whole) // 3, len(whole) - 300, len(whole) - 1):
        source.write_bytes(whole[:length])
        originals.refused(source, originals.given("distance"))


def test_flipped_bits_of_our_safetensors(tmp_path: Path) -> None:
    """Others' safetensors files have no checksum; those written here have."""
    source = tmp_path / "model.safetensors"
    safetensors_files.write(source, tiny.full_state_dict("distance"), {})
    whole = source.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in np.linspace(header, len(whole) - 1, 8).astype(int).tolist():
        source.write_bytes(flipped(whole, place, 3))
        assert "damaged" in originals.refused(source, originals.given("distance"))
