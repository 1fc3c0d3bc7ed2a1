"""The interface of objects that follow a training: displays and loggers."""

from collections.abc import Callable, Sequence

from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import DivergenceError

# Returns mean losses and accuracy of the current epoch so far, by the paths of the runs.
RunningMetrics = Callable[[], dict[str, dict[str, float]]]


class Callback:
    """Methods that the training loop calls; by default they do nothing."""

    def on_epoch_start(self, epoch: int, step: int, num_steps: int) -> None:
        """An epoch (counted from 1) starts; ``step`` of its steps are already done."""

    def on_steps_end(self, num_images: int, running_metrics: RunningMetrics | None) -> None:
        """One or more steps with ``num_images`` images are done.

        ``running_metrics`` is None if reading them would synchronize the device.
        """

    def on_warning(self, message: str) -> None:
        """Something happened that the user should know."""

    def on_epoch_end(self, student: StudentTrainer) -> None:
        """A student has finished an epoch; its metrics are the last entry of its history."""

    def on_joint_epoch_end(self, students: Sequence[StudentTrainer]) -> None:
        """All ``students`` that trained in an epoch have finished it, and its files are written.

        A student whose ``has_left`` is set takes no part in the next epoch.
        """

    def on_divergence(self, student: StudentTrainer, error: DivergenceError) -> bool:
        """A loss, weight or metric of a student is not finite.

        Returns:
            Whether the training goes on without this student; otherwise it ends with ``error``.
        """
        return False
