"""The work of one launch: a batch, the teacher's outputs for it, and the steps of all students."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lskd_cli.config import View
from lskd_cli.data import Batch, BatchSpec, Loader
from lskd_cli.engine.devices.cuda_graphs import JointStep
from lskd_cli.engine.devices.graph_check import StepState
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import Output
from lskd_cli.random_streams import student_seed


def create_joint_step(
    loader: Loader, teacher: Teacher | None, students: Sequence[StudentTrainer]
) -> JointStep:
    """The next steps of students at the same position.

    Nothing in it reads from the device or depends on Python values that change between steps, so it
    can be captured as a CUDA graph.

    Args:
        loader: makes the batch.
        teacher: None if no student needs one.
        students: the students that take the steps.
    """
    views = teacher_views(students)

    def shared(spec: BatchSpec) -> tuple[Batch, dict[View, Output]]:
        batch = loader.make_batch(spec)
        outputs: dict[View, Output] = {}
        if spec.weak_logits is not None:
            outputs["weak"] = Output(spec.weak_logits)
        if teacher is not None:
            outputs |= teacher(batch.views, [view for view in views if view not in outputs])
        return batch, outputs

    def state() -> StepState | None:
        if any(student.is_stochastic for student in students):
            return None
        return StepState.join([student.step_state() for student in students])

    rank = students[0].runtime.process_group.rank
    seeds = (loader.data.seed, *(student.preset.seed for student in students), rank)
    return JointStep(
        key=tuple(student.preset.run_path for student in students),
        shared=shared,
        branches=[student.train_steps for student in students],
        state=state,
        replay_seed=student_seed(*students[0].position, *seeds),
    )


def student_views(students: Iterable[StudentTrainer]) -> list[View]:
    """Views that the students use."""
    return list(dict.fromkeys(view for student in students for view in student.distiller.views))


def teacher_views(students: Iterable[StudentTrainer]) -> list[View]:
    """Views that the teacher has to see for these students."""
    return student_views(student for student in students if student.distiller.needs_teacher)


def without_unsafe_graphs(
    runtime: Runtime, students: Sequence[StudentTrainer], warn: Warn
) -> Runtime:
    """The runtime, without CUDA graphs if the method of a student does not support them."""
    unsafe = [s.preset.method.name for s in students if not s.distiller.cuda_graph_safe]
    if not runtime.graphs or not unsafe:
        return runtime
    warn(f"--graphs: method {unsafe[0]} does not support CUDA graphs; disabled")
    return replace(runtime, graphs=False)
