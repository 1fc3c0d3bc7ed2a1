"""The part of a training step that all students of a joint run share."""

from collections.abc import Collection, Iterable

from lskd_cli.config import View
from lskd_cli.data import Batch, BatchSpec, Loader
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.teacher import Teacher
from lskd_cli.models import Output


def shared_step(
    loader: Loader, teacher: Teacher | None, views: Collection[View], spec: BatchSpec
) -> tuple[Batch, dict[View, Output]]:
    """Make a batch and run the teacher on it.

    Nothing here reads from the device or depends on Python values that change between steps, so it
    can be captured as a CUDA graph.

    Args:
        loader: makes the batch.
        teacher: None if no student needs one.
        views: views that the teacher has to see.
        spec: specification of one or more steps.

    Returns:
        The batch, and the outputs of the teacher by view.
    """
    batch = loader.make_batch(spec)
    outputs: dict[View, Output] = {}
    if spec.weak_logits is not None:
        outputs["weak"] = Output(spec.weak_logits)
    if teacher is not None:
        outputs |= teacher(batch.views, [view for view in views if view not in outputs])
    return batch, outputs


def student_views(students: Iterable[StudentTrainer]) -> list[View]:
    """Views that the students use."""
    return _unique(view for student in students for view in student.distiller.views)


def teacher_views(students: Iterable[StudentTrainer]) -> list[View]:
    """Views that the teacher has to see for these students."""
    return student_views(student for student in students if student.distiller.needs_teacher)


def _unique(views: Iterable[View]) -> list[View]:
    return list(dict.fromkeys(views))
