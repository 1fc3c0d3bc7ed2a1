"""One student in training: its network, its distiller, its optimizer, its place in the schedule."""

from collections.abc import Mapping
from typing import Any

import torch

from lskd_cli.config import Preset
from lskd_cli.data import Batch, num_classes
from lskd_cli.distillers import Step, create_distiller
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
        settings = preset.optimizer
        self.optimizer = torch.optim.SGD(
            [*self.student.parameters(), *self.distiller.parameters()],
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
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

    def step(self, batch: Batch, teacher: Mapping[View, Output]) -> None:
        """Learn from a batch: the step at ``position``."""
        epoch, index = self.position
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.student.train()
        with self.compute.autocast():
            student = {
                view: run_network(self.student, batch.views[view], self.distiller.needs_features)
                for view in self.distiller.views
            }
        losses = self.distiller.losses(Step(student, teacher, batch.target, epoch))
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.meters.update(losses, student["weak"].logits, batch.target, index)
        self.position = (epoch, index + 1)

    def finish_epoch(self, measured: Mapping[str, float]) -> bool:
        """Close the epoch; True if it is the best so far.

        Args:
            measured: of its training and its evaluation.
        """
        epoch = self.position[0]
        record = {"epoch": epoch, "lr": self.learning_rate, **measured}
        record |= {name: value.item() for name, value in self.distiller.logged().items()}
        record["seconds"] = self.seconds
        record["images_per_second"] = self.meters.images / self.seconds
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


def run_network(network: Network, images: torch.Tensor, features: bool) -> Output:
    """A forward pass that keeps the features only where they are wanted."""
    output = network.forward_features(images)
    return output if features else Output(output.logits)
