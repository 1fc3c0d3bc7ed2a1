"""One student in training: its network, its distiller, its optimizer, its place in the schedule."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from lskd_cli.config import Preset
from lskd_cli.data import Batch, num_classes
from lskd_cli.distillers import Distiller, Step, create_distiller
from lskd_cli.engine.compiled import Compiled, Notify
from lskd_cli.engine.device import Compute
from lskd_cli.engine.meters import Meters
from lskd_cli.engine.optimizer import create_optimizer
from lskd_cli.engine.schedule import learning_rate
from lskd_cli.errors import RequestError
from lskd_cli.models import Network, Output, create_model
from lskd_cli.view import View


class Learner(nn.Module):
    """A student and its distiller: a batch in, losses out."""

    def __init__(self, student: Network, distiller: Distiller, compute: Compute) -> None:
        super().__init__()
        self.student = student
        self.distiller = distiller
        self.compute = compute
        self.run: Callable[[Tensor], Output] = student.forward_features

    def forward(
        self, batch: Batch, teacher: Mapping[View, Output], epoch: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits of the weak view, (B, C), and the parts of the loss."""
        with self.compute.autocast():
            student = {view: self._output(batch.views[view]) for view in self.distiller.views}
        step = Step(student, teacher, batch.target, epoch, batch.index, self.compute.autocast)
        losses = self.distiller.losses(step)
        return student["weak"].logits, losses

    def _output(self, images: Tensor) -> Output:
        output = self.run(images)
        # Features nobody reads would stay in memory for the step.
        return output.only(self.distiller.reads)


class Arm:
    """A student and everything that changes with it.

    Attributes:
        position: (epoch, step) of the next step, from (1, 0) on.
        seconds: of training in this epoch so far, all arms of the pass together.
        waited: seconds of those in which there were no images.
        history: one record per finished epoch.
        best: record of the best epoch so far.
    """

    def __init__(
        self,
        preset: Preset,
        compute: Compute,
        teacher: Network | None = None,
        targets: Tensor | None = None,
    ) -> None:
        """Make a student and its method as the preset's seed initializes them.

        Args:
            preset: of the run.
            compute: where it is trained.
            teacher: its network, where the method reads features.
            targets: (N,) classes of the training images, likewise.

        Raises:
            RequestError: a network does not exist, or lacks what the method reads.
        """
        self.preset = preset
        self.compute = compute
        self.student = initial_student(preset)
        self.distiller = initial_distiller(
            preset, teacher, None if targets is None else targets.cpu()
        )
        if preset.sync_batchnorm and compute.team.size > 1:
            if compute.device.type == "cpu":
                raise RequestError("sync_batchnorm: of CUDA devices only; leave it out on CPUs")
            self.student = convert_sync_batchnorm(self.student)
            self.distiller = convert_sync_batchnorm(self.distiller)
        compute.place(self.student)
        compute.place(self.distiller)
        self.learner = Learner(self.student, self.distiller, compute)
        self.joined = compute.team.joined(self.learner, self.student.uses_all)
        # Tensors on the device: a recorded step reads what they hold when it is replayed.
        self.epoch = torch.ones((), device=compute.device)
        self.rate = torch.zeros((), device=compute.device)
        self.optimizer = create_optimizer(self.learner, preset.optimizer, self.rate)
        self.meters = Meters(compute.device)
        self.position = (1, 0)
        self.seconds = 0.0
        self.waited = 0.0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None

    @property
    def added_parameters(self) -> int:
        """Numbers that the method learns beside the student's."""
        return sum(parameter.numel() for parameter in self.distiller.parameters())

    @property
    def learning_rate(self) -> float:
        """Learning rate of the epoch that the arm is in."""
        return learning_rate(self.preset.optimizer, self.preset.schedule, self.position[0])

    def compile(self, notify: Notify) -> None:
        """Run the student compiled on whole batches; ``notify`` is told where that fails."""
        size = -(-self.preset.data.batch_size // self.preset.optimizer.accumulate)
        own = self.compute.team.share.size(size)
        self.learner.run = Compiled(self.student.forward_features, own, notify)

    def begin_epoch(self) -> None:
        """Take over what depends on the epoch."""
        self.epoch.fill_(self.position[0])
        self.rate.fill_(self.learning_rate)
        self.learner.train()

    def learn(self, batch: Batch, teacher: Mapping[View, Output], weight: float = 1.0) -> None:
        """A step of training, on the device alone: it can be recorded and replayed.

        Args:
            batch: what this process learns from.
            teacher: outputs of its views.
            weight: of this process in the gradient, which becomes the mean over processes.
        """
        self.optimizer.zero_grad()
        losses: dict[str, Tensor] = {}
        logits = []
        parts = list(_parts(len(batch.target), self.preset.optimizer.accumulate))
        for number, (part, share) in enumerate(parts, start=1):
            seen = {view: output.part(part) for view, output in teacher.items()}
            with self._exchanged(number == len(parts)):
                student, of_part = self.joined(batch.part(part), seen, self.epoch)
                loss = weight * share * torch.stack(list(of_part.values())).sum()
                loss.backward()  # type: ignore[no-untyped-call]
            for name, value in of_part.items():
                losses[name] = losses.get(name, 0) + share * value.detach()
            logits.append(student.detach())
        most = -(-self.preset.data.batch_size // self.compute.team.size)
        self.distiller.after_step(partial(self.compute.team.collected, most=most))
        if self.preset.optimizer.clip_norm is not None:
            clip_grad_norm_(self.learner.parameters(), self.preset.optimizer.clip_norm)
        self.optimizer.step()
        self.meters.update(losses, torch.cat(logits), batch.target)

    def _exchanged(self, is_last: bool) -> AbstractContextManager[None]:
        """Context of a part of a step; processes exchange gradients in the last alone."""
        if is_last or not isinstance(self.joined, DistributedDataParallel):
            return nullcontext()
        held: AbstractContextManager[None] = self.joined.no_sync()
        return held

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
        record["waiting_seconds"] = self.waited
        self.history.append(record)
        self.position = (epoch + 1, 0)
        self.meters.reset()
        self.seconds = self.waited = 0.0
        key = "val_top1" if "val_top1" in record else "test_top1"
        is_best = self.best is None or record[key] > self.best[key]
        if is_best:
            self.best = record
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on; all processes ask for it together."""
        return {
            "student": self.student.state_dict(),
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "meters": self.meters.state_dict(self.compute.team),
            "position": self.position,
            "seconds": self.seconds,
            "waited": self.waited,
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
        self.meters.load_state_dict(state["meters"], self.compute.team)
        epoch, step = state["position"]
        self.position = (epoch, step)
        self.seconds = state["seconds"]
        self.waited = state["waited"]
        self.history = list(state["history"])
        self.best = state["best"]


def initial_student(preset: Preset) -> Network:
    """The student as the preset's seed initializes it: the same on every device.

    Raises:
        RequestError: its network does not exist, or not for such images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        classes = num_classes(preset.data)
        return create_model(preset.student, classes, preset.data.image_size, preset.drop_path)


def initial_distiller(
    preset: Preset, teacher: Network | None = None, targets: Tensor | None = None
) -> Distiller:
    """The method as the preset's seed initializes it.

    Args:
        preset: of the run.
        teacher: its network, where the method reads features.
        targets: (N,) classes of the training images on the CPU, likewise.

    Raises:
        RequestError: it reads layers that the networks do not have.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        return create_distiller(preset, teacher, targets)


def _parts(images: int, parts: int) -> Iterator[tuple[slice, float]]:
    """The places of each part of a batch, and its share."""
    for start, end in pairwise(images * part // parts for part in range(parts + 1)):
        if end > start:
            yield slice(start, end), (end - start) / images
