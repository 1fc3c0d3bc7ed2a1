"""One student in training: its network, its distiller, its optimizer, its place in the schedule."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lskd_cli.config import Preset
from lskd_cli.data import Batch, num_classes
from lskd_cli.distillers import Step, create_distiller
from lskd_cli.engine.compiled import Compiled, Notify
from lskd_cli.engine.device import Compute
from lskd_cli.engine.meters import Meters
from lskd_cli.engine.schedule import learning_rate
from lskd_cli.models import Network, Output, create_model
from lskd_cli.view import View


class Arm:
    """A student and everything that changes with it.

    Attributes:
        position: (epoch, step) of the next step, from (1, 0) on.
        seconds: of training in this epoch so far, all arms of the pass together.
        history: one record per finished epoch.
        best: record of the best epoch so far.
    """

    def __init__(self, preset: Preset, compute: Compute) -> None:
        self.preset = preset
        self.compute = compute
        self.student = initial_student(preset)
        self.distiller = create_distiller(preset)
        compute.place(self.student)
        self.distiller.to(compute.device)
        self.forward: Callable[[torch.Tensor], Output] = self.student.forward_features
        # Tensors on the device: a recorded step reads what they hold when it is replayed.
        self.epoch = torch.ones((), device=compute.device)
        self.rate = torch.zeros((), device=compute.device)
        self.optimizer = _optimizer(
            [*self.student.parameters(), *self.distiller.parameters()], self
        )
        self.meters = Meters(compute.device)
        self.position = (1, 0)
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None

    @property
    def learning_rate(self) -> float:
        """Learning rate of the epoch that the arm is in."""
        return learning_rate(self.preset.optimizer, self.preset.schedule, self.position[0])

    def compile(self, notify: Notify) -> None:
        """Run the student compiled on whole batches; ``notify`` is told where that fails."""
        self.forward = Compiled(self.student.forward_features, self.preset.data.batch_size, notify)

    def begin_epoch(self) -> None:
        """Take over what depends on the epoch."""
        self.epoch.fill_(self.position[0])
        self.rate.fill_(self.learning_rate)
        self.student.train()

    def learn(self, batch: Batch, teacher: Mapping[View, Output]) -> None:
        """A step of training, on the device alone: it can be recorded and replayed."""
        with self.compute.autocast():
            student = {view: self._run(batch.views[view]) for view in self.distiller.views}
        losses = self.distiller.losses(Step(student, teacher, batch.target, self.epoch))
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.meters.update(losses, student["weak"].logits, batch.target)

    def _run(self, images: torch.Tensor) -> Output:
        output = self.forward(images)
        # Features nobody reads would stay in memory for the step.
        return output if self.distiller.needs_features else Output(output.logits)

    def advance(self, steps: int) -> None:
        """So many steps are done."""
        epoch, step = self.position
        self.position = (epoch, step + steps)

    def finish_epoch(self, measured: Mapping[str, float], images: int) -> bool:
        """Close the epoch; True if it is the best so far.

        Args:
            measured: of its training and its evaluation.
            images: that the arm has learnt from in the epoch.
        """
        epoch = self.position[0]
        record = {"epoch": epoch, "lr": self.learning_rate, **measured}
        record |= {name: value.item() for name, value in self.distiller.logged().items()}
        record["seconds"] = self.seconds
        record["images_per_second"] = images / self.seconds
        self.history.append(record)
        self.position = (epoch + 1, 0)
        self.meters.reset()
        self.seconds = 0.0
        key = "val_top1" if "val_top1" in record else "test_top1"
        is_best = self.best is None or record[key] > self.best[key]
        if is_best:
            self.best = record
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "student": self.student.state_dict(),
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "meters": self.meters.state_dict(),
            "position": self.position,
            "seconds": self.seconds,
            "history": self.history,
            "best": self.best,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.student.load_state_dict(state["student"])
        self.distiller.load_state_dict(state["distiller"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate  # the saved one is a copy
        self.meters.load_state_dict(state["meters"])
        epoch, step = state["position"]
        self.position = (epoch, step)
        self.seconds = state["seconds"]
        self.history = list(state["history"])
        self.best = state["best"]


def initial_student(preset: Preset) -> Network:
    """The student as the preset's seed initializes it: the same on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        return create_model(preset.student, num_classes(preset.data.name))


def _optimizer(parameters: list[torch.nn.Parameter], arm: Arm) -> torch.optim.SGD:
    settings = arm.preset.optimizer
    optimizer = torch.optim.SGD(
        parameters,
        lr=arm.rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    if settings.momentum > 0:
        # The first step would make them, and be another step than those that follow.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
