"""The forward pass of one student in training, as DistributedDataParallel wraps it."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from lskd_cli.config import View
from lskd_cli.data import Batch
from lskd_cli.distillers import Distiller, StepInputs
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.models import Network, Output

TeacherOutputs = Mapping[View, Output]


class DistillationModule(nn.Module):
    """A student and its distiller: takes a batch and returns losses."""

    def __init__(
        self,
        student: Network,
        distiller: Distiller,
        runtime: Runtime,
        adapt: ViewAdapter,
        label_smoothing: float,
        loss: Callable[[StepInputs], dict[str, Tensor]] | None = None,
    ) -> None:
        """Combine a student and a distiller.

        Args:
            student: the student.
            distiller: its method.
            runtime: device and precision.
            adapt: converts the views of a batch into the student's images.
            label_smoothing: of the cross entropy.
            loss: losses of the inputs; by default those of the distiller.
        """
        super().__init__()
        self.student = student
        self.distiller = distiller
        self.runtime = runtime
        self.adapt = adapt
        self.label_smoothing = label_smoothing
        self.loss = loss or distiller.losses
        self.run_student: Callable[[Tensor], Output] = student.forward_features

    def forward(
        self, batch: Batch, teacher: TeacherOutputs, epoch: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, C) logits of the weak view, and the losses by name."""
        with self.runtime.autocast():
            student = {view: self._output(batch.views[view]) for view in self.distiller.views}
        logits = student["weak"].logits
        inputs = StepInputs(
            student,
            teacher,
            batch.target,
            epoch,
            batch.index,
            self.runtime.autocast,
            batch.soft_target(logits.shape[1], self.label_smoothing),
        )
        return logits, self.loss(inputs)

    def _output(self, images: Tensor) -> Output:
        # Unused features would stay in memory until the end of the step.
        return self.run_student(self.adapt(images)).select(self.distiller.required_features)
