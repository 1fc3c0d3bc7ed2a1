"""What the comparison of a captured step with an eager one notices."""

import math

import pytest
import torch
from torch import Tensor

from lskd_cli.config import load_preset
from lskd_cli.data import BatchSpec
from lskd_cli.engine.devices.graph_check import LIMITS, StepState
from lskd_cli.engine.training.dry_run import first_epoch
from lskd_cli.engine.training.joint_step import create_joint_step
from lskd_cli.models import Output
from tests.engine.helpers import CPU

STEPS, BEFORE = 4, 2  # steps of a launch, and launches before the one that is compared


def _state(**kinds: float) -> StepState:
    values = {kind: [torch.full((100,), kinds.get(kind, 0.0))] for kind in LIMITS}
    return StepState(values, [torch.tensor(5)], [torch.tensor(3.0)])


@pytest.mark.parametrize("kind", LIMITS)
def test_every_kind_has_its_own_limit(kind: str) -> None:
    before, expected = _state(), _state(**dict.fromkeys(LIMITS, 0.1))
    for factor, is_noticed in ((0.9, False), (1.1, True)):
        changed = dict.fromkeys(LIMITS, 0.1) | {kind: 0.1 * (1 + factor * LIMITS[kind])}
        problem = _state(**changed).problem(before, expected)
        assert (problem is not None) == is_noticed
    assert problem is not None
    assert problem.startswith(f"{kind} differ by ")


def test_counters_must_be_equal() -> None:
    before, expected = _state(), _state(parameters=0.1)
    wrong = expected.copy()
    wrong.counters[0] += 1
    assert wrong.problem(before, expected) == "the numbers of steps differ"
    wrong = expected.copy()
    wrong.uncompared[0] += 1
    assert wrong.problem(before, expected) is None


def test_a_small_tensor_is_not_hidden_by_large_ones() -> None:
    def state(large: float, small: float) -> StepState:
        parts = {"parameters": [torch.full((1000,), large), torch.full((10,), small)]}
        return StepState(parts, [], [])

    before, expected = state(0.0, 0.0), state(1.0, 1.0)
    assert state(1.0, 0.9).problem(before, expected) is None
    assert state(1.0, 0.0).problem(before, expected) is not None


def test_nan_is_noticed_unless_it_is_expected() -> None:
    before, expected, bad = _state(), _state(parameters=0.1), _state(parameters=math.nan)
    assert bad.problem(before, expected) == "parameters differ by inf of their change"
    assert expected.problem(before, bad) is None


class _Launches:
    """Launches of the same student from the same state, with mistakes."""

    def __init__(self, name: str) -> None:
        preset = load_preset(name, ["data.image_size=16", "data.padding=2", "data.batch_size=16"])
        self.size = preset.data.batch_size * STEPS
        count = (BEFORE + 1) * self.size
        self.loader, teacher, (self.student,) = first_epoch([preset], CPU, count)
        assert teacher is not None
        self.teacher = teacher
        # An untrained teacher would answer nearly the same for all images.
        matrix = torch.randn(3 * 16 * 16, 10, generator=torch.Generator().manual_seed(0)) / 10
        self.teacher.forward = lambda images: Output(images.flatten(1) @ matrix)
        for number in range(BEFORE):
            self.run(self.spec(number))
            self.student.advance_step(STEPS)
        self.state = self.student.step_state()
        self.before = self.state.copy()
        self.run(self.spec(BEFORE))
        self.expected = self.state.copy()

    def spec(self, launch: int) -> BatchSpec:
        return self.loader.batch_spec(launch * STEPS, STEPS)

    def run(self, spec: BatchSpec) -> None:
        step = create_joint_step(self.loader, self.teacher, [self.student])
        step.branches[0](*step.shared(spec))

    def problem(self, spec: BatchSpec) -> str | None:
        """What is noticed about a launch with these images."""
        self.state.restore(self.before)
        self.run(spec)
        return self.state.copy().problem(self.before, self.expected)


@pytest.fixture(scope="module")
def launches() -> _Launches:
    return _Launches("mlkd-digits")


def test_an_equal_launch_is_right(launches: _Launches) -> None:
    assert launches.problem(launches.spec(BEFORE)) is None


def test_another_order_of_summation_is_rounding(launches: _Launches) -> None:
    steps = torch.arange(launches.size).view(STEPS, -1)
    order = steps[:, torch.randperm(steps.shape[1], generator=torch.Generator().manual_seed(0))]

    def permute(tensor: Tensor) -> Tensor:
        return tensor[order.flatten()] if tensor.ndim else tensor

    assert launches.problem(launches.spec(BEFORE).map(permute)) is None


def test_images_of_the_launch_before_are_noticed(launches: _Launches) -> None:
    assert launches.problem(launches.spec(BEFORE - 1)) is not None


@pytest.mark.parametrize("factor", [0.0, 0.5, 10.0])
def test_another_learning_rate_is_noticed(launches: _Launches, factor: float) -> None:
    student = launches.student
    student.learning_rates.set(factor * student.learning_rate)
    assert launches.problem(launches.spec(BEFORE)) is not None
    student.learning_rates.set(student.learning_rate)


def test_swapped_views_are_noticed(launches: _Launches) -> None:
    spec = launches.spec(BEFORE)
    weak, strong = spec.views["weak"], spec.views["strong"]
    assert launches.problem(BatchSpec(spec.index, {"weak": strong, "strong": weak})) is not None


def test_teacher_outputs_of_other_images_are_noticed(
    launches: _Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = launches.teacher.forward
    monkeypatch.setattr(
        launches.teacher, "forward", lambda images: Output(forward(images).logits.roll(1, 0))
    )
    assert launches.problem(launches.spec(BEFORE)) is not None
