"""The interface of objects that follow a training: displays and loggers."""

from collections.abc import Callable

from lskd_cli.engine.training.student_trainer import StudentTrainer

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
