"""One student in training, with its distiller, its optimizer and its position in the schedule."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lskd_cli.checkpoints import Checkpoint, first_non_finite
from lskd_cli.config import Preset
from lskd_cli.data import Batch, ImagesIdentity
from lskd_cli.distillers import Distiller, create_distiller
from lskd_cli.engine.devices.compile import Compiled
from lskd_cli.engine.devices.cuda_graphs import seed_generators
from lskd_cli.engine.devices.graph_check import StepState
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.engine.runs.run_folder import STATE_VERSION, EpochResult
from lskd_cli.engine.training.distillation_module import DistillationModule, TeacherOutputs
from lskd_cli.engine.training.ensemble import EnsembleLoss
from lskd_cli.engine.training.gradients import create_gradients
from lskd_cli.engine.training.initial_weights import InitialWeights
from lskd_cli.engine.training.meters import Meters
from lskd_cli.engine.training.optimizer import create_optimizer
from lskd_cli.engine.training.schedule import learning_rate
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.engine.training.weight_average import WeightAverage
from lskd_cli.errors import DivergenceError
from lskd_cli.models import Network, classifier_parameters, create_model
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.random_streams import student_seed
from lskd_cli.run_paths import WeightsName


class StudentTrainer:
    """A student and everything that changes while it is trained.

    Attributes:
        position: (epoch, step) of the next step; the first one is (1, 0).
        has_left: whether the training goes on without it, before its last epoch.
        seconds: training time of this epoch so far, of all students of the joint run together.
        data_wait_seconds: the part of ``seconds`` in which the training waited for images.
        history: metrics of each finished epoch.
        best: metrics of the best epoch so far.
        preprocessing: preprocessing of the student.
        ema: moving average of the student's weights; None without ``ema_decay``.
    """

    def __init__(
        self,
        preset: Preset,
        runtime: Runtime,
        teacher: Network | None = None,
        targets: Tensor | None = None,
        initial: InitialWeights | None = None,
        class_outputs: Callable[[], Tensor] | None = None,
    ) -> None:
        """Create a student and its method, initialized with the seed of the preset.

        Args:
            preset: preset of the run.
            runtime: device and precision.
            teacher: the teacher; required by feature methods.
            targets: (N,) class indices of the training images; required by feature methods.
            initial: weights from which the student starts, instead of random ones.
            class_outputs: that of ``create_distiller``.

        Raises:
            RequestError: a network does not exist, or lacks features that the method uses.
        """
        self.preset = preset
        self.runtime = runtime
        self.student = create_student(preset)
        self.preprocessing = Preprocessing.of_data(preset.data)
        self.initial = initial
        if initial is not None:
            initial.load(self.student)
            self.preprocessing = _initial_preprocessing(initial.checkpoint, preset)
        self.distiller = create_seeded_distiller(
            preset,
            teacher,
            None if targets is None else targets.cpu(),
            self.student,
            class_outputs,
        )
        if preset.sync_batchnorm and runtime.process_group.world_size > 1:
            from timm.layers import convert_sync_batchnorm

            self.student = convert_sync_batchnorm(self.student)
            self.distiller = convert_sync_batchnorm(self.distiller)
        if self.distiller.required_features:  # after batch norms are replaced
            self.student.enable_features()
        runtime.to_device(self.student)
        runtime.to_device(self.distiller)
        self.module = DistillationModule(
            self.student,
            self.distiller,
            runtime,
            ViewAdapter.between(preset.data, self.preprocessing, runtime.device),
            preset.label_smoothing,
            EnsembleLoss(preset, self.distiller) if len(preset.teacher_names) > 1 else None,
        )
        self.has_batch_norms = any(isinstance(m, _BatchNorm) for m in self.module.modules())
        # Tensors on the device: a captured step reads their current values when it is replayed.
        self.epoch = torch.ones((), device=runtime.device)
        self.optimizer, self.learning_rates = create_optimizer(
            self.module,
            self.student,
            preset.optimizer,
            runtime.device,
            self._classifier() if preset.optimizer.backbone_lr_scale < 1 else (),
        )
        self.gradients = create_gradients(
            self.module, self.optimizer, runtime.process_group, self.student.all_params_used
        )
        decay = preset.optimizer.ema_decay
        self.ema = None if decay is None else WeightAverage(self.student, decay, runtime.device)
        self.meters = Meters(runtime.device, runtime.process_group)
        self.position = (1, 0)
        self.has_left = False
        self.seconds = 0.0
        self.data_wait_seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None

    def _classifier(self) -> Collection[str]:
        return classifier_parameters(self.preset.student_model, self.preset.data.image_size)

    @property
    def added_parameters(self) -> int:
        """Number of parameters that the method trains besides the student's."""
        return sum(parameter.numel() for parameter in self.distiller.parameters())

    @property
    def is_finished(self) -> bool:
        """Whether it takes no further step."""
        return self.has_left or self.position[0] > self.preset.schedule.epochs

    @property
    def learning_rate(self) -> float:
        """Learning rate of the current epoch."""
        return learning_rate(self.preset.optimizer, self.preset.schedule, self.position[0])

    @property
    def is_stochastic(self) -> bool:
        """Whether steps draw random numbers, besides those of the batch."""
        if self.distiller.draws_random_numbers:
            return True
        # Dropout of PyTorch, stochastic depth of torchvision and timm, dropout of timm's networks.
        rates = (
            getattr(module, name, 0)
            for module in self.module.modules()
            for name in ("p", "drop_prob", "drop_rate")
        )
        return any(isinstance(rate, float) and rate > 0 for rate in rates)

    def networks(self) -> dict[str, Network]:
        """The networks that are evaluated, by the prefixes of their metrics."""
        return {"": self.student} | ({} if self.ema is None else {"ema_": self.ema.network})

    def step_state(self) -> StepState:
        """The tensors that a step changes."""
        buffers = list(self.module.buffers())
        state = [item for values in self.optimizer.state.values() for item in values.items()]
        average = [] if self.ema is None else self.ema.tensors()
        counts = [tensor for name, tensor in state if name == "step"]
        values = {
            "parameters": [parameter.detach() for parameter in self.module.parameters()],
            "statistics": [tensor for tensor in buffers if tensor.is_floating_point()],
            "optimizer": [v for name, v in state if name != "step" and isinstance(v, Tensor)],
            "average": [tensor for tensor in average if tensor.is_floating_point()],
            "losses": self.meters.losses(),
        }
        counts += [tensor for tensor in (*buffers, *average) if not tensor.is_floating_point()]
        counts += [*self.meters.counts(), *([] if self.ema is None else [self.ema.num_updates])]
        return StepState(values, counts, [self.meters.correct()])

    def compile(self, warn: Warn) -> None:
        """Compile the student for full batches; ``warn`` is called if that fails."""
        shard_size = self.runtime.process_group.shard.size(self.preset.data.batch_size)
        ((first, _), *_) = self._micro_batches(max(1, shard_size))
        self.module.run_student = Compiled(
            self.student.forward_features, first.stop - first.start, warn
        )

    def start_epoch(self) -> None:
        """Update everything that depends on the epoch."""
        self.epoch.fill_(self.position[0])
        self.learning_rates.set(self.learning_rate)
        self.module.train()

    def train_steps(self, batch: Batch, teacher: TeacherOutputs) -> None:
        """Train on the images of one or more steps; all work is on the device.

        Args:
            batch: images of this process, a whole number of steps or up to the end of the epoch.
            teacher: outputs of the teacher for these images.
        """
        config, group = self.preset.optimizer, self.runtime.process_group
        max_rows = -(-self.preset.data.batch_size // group.world_size)
        for step_batch, step_teacher in self._steps(batch, teacher):
            self.gradients.zero()
            losses, logits = [], []
            for images, fraction in self._micro_batches(len(step_batch.target)):
                outputs = {view: output.slice(images) for view, output in step_teacher.items()}
                is_last = images.stop == len(step_batch.target)
                inputs = (step_batch.slice(images), outputs, self.epoch)
                student_logits, names, values = self.gradients.add(
                    inputs, batch.weight * fraction, is_last
                )
                losses.append(fraction * values)
                logits.append(student_logits.detach())
            self.distiller.on_step_end(partial(group.all_gather_padded, max_rows=max_rows))
            if config.clip_grad_norm is not None:
                self.gradients.clip(config.clip_grad_norm)
            self.gradients.step()
            if self.ema is not None:
                self.ema.update(self.student)
            is_counted = batch.weight > 0  # not an image of another process
            means = reduce(torch.add, losses)
            self.meters.update(names, means, torch.cat(logits), step_batch.target, is_counted)

    def _micro_batches(self, num_images: int) -> Iterator[tuple[slice, float]]:
        """The images of each micro-batch, and their fraction of the batch.

        They are fewer than ``grad_accum_steps`` if batch norms would see a single image.
        """
        largest = num_images // 2 if self.has_batch_norms else num_images
        count = max(1, min(self.preset.optimizer.grad_accum_steps, largest))
        for start, end in pairwise(num_images * number // count for number in range(count + 1)):
            yield slice(start, end), (end - start) / num_images

    def _steps(
        self, batch: Batch, teacher: TeacherOutputs
    ) -> Iterator[tuple[Batch, TeacherOutputs]]:
        """The images and teacher outputs of each step, with the generators seeded for it."""
        size, rank = self.preset.data.batch_size, self.runtime.process_group.rank
        epoch, first_step = self.position
        for index, start in enumerate(range(0, len(batch.target), size)):
            # Random numbers are the same whichever students are trained together.
            seed_generators(student_seed(epoch, first_step + index, self.preset.seed, rank))
            images = slice(start, start + size)
            yield (
                batch.slice(images),
                {view: output.slice(images) for view, output in teacher.items()},
            )

    def advance_step(self, num_steps: int) -> None:
        """Count finished steps."""
        epoch, step = self.position
        self.position = (epoch, step + num_steps)

    def finish_epoch(
        self, metrics: Mapping[str, float], num_images: int, images: ImagesIdentity
    ) -> EpochResult:
        """Add an epoch to the history; all processes must call this together.

        Args:
            metrics: metrics of the training and the evaluation.
            num_images: number of images of the epoch.
            images: what the weights store about their images.

        Raises:
            DivergenceError: a metric is not finite.
        """
        epoch = self.position[0]
        record = {"epoch": epoch, "lr": self.learning_rate, **metrics}
        record |= {name: value.item() for name, value in self.distiller.metrics().items()}
        record["seconds"] = self.seconds
        record["images_per_second"] = num_images / self.seconds
        record["data_wait_seconds"] = self.data_wait_seconds
        for name, value in record.items():
            if not math.isfinite(value):
                raise DivergenceError(
                    f"{self.preset.run_path}: {name} not finite after epoch {epoch}"
                )
        self.history.append(record)
        self.position = (epoch + 1, 0)
        self.meters.reset()
        self.seconds = self.data_wait_seconds = 0.0
        key = "val_top1" if "val_top1" in record else "test_top1"
        is_best = self.best is None or record[key] > self.best[key]
        if self.best is None or is_best:
            self.best = record
        weights: dict[WeightsName, tuple[dict[str, Tensor], dict[str, str]]] = {}
        for prefix, network in self.networks().items():
            evaluated = "test_top1" if "test_top1" in record else "val_top1"
            metadata = self._weights_metadata(record[f"{prefix}{evaluated}"], images)
            weights["ema" if prefix else "last"] = (network.state_dict(), metadata)
        return EpochResult(self.history, self.best, is_best, weights, self.state_dict())

    def _weights_metadata(self, top1: float, images: ImagesIdentity) -> dict[str, str]:
        """Metadata of the weights of the last epoch, with their accuracy in percent."""
        preset = self.preset
        initial = self.initial.checkpoint.metadata if self.initial is not None else {}
        return {
            **({"classes": json.dumps(images.classes)} if images.classes else {}),
            **({"archive_sha256": images.archive} if images.archive else {}),
            **{key: initial[key] for key in ("license",) if key in initial},
            "preprocessing": self.preprocessing.to_json(),
            "model": preset.student_model,
            "num_classes": str(preset.data.class_count),
            "dataset": preset.data.name,
            "preset": preset.run_name,
            "seed": str(preset.seed),
            "epoch": str(self.history[-1]["epoch"]),
            "top1": f"{top1:.2f}",
        }

    def check_finite(self) -> None:
        """Check that all weights are finite; all processes must call this together.

        A gradient can be NaN or infinite although the loss is finite.

        Raises:
            DivergenceError: a weight is not finite; the message names it and the step.
        """
        name = first_non_finite(self.module.state_dict())
        if self.runtime.process_group.any_rank(name is not None)[0]:
            epoch, step = self.position
            raise DivergenceError(
                f"{self.preset.run_path}: {name or 'a weight'} not finite after epoch {epoch}, "
                f"step {step}, although the losses were"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on; all processes must call this together."""
        ema = {} if self.ema is None else {"ema": self.ema.state_dict()}
        return {
            **ema,
            "version": STATE_VERSION,
            "student": self.student.state_dict(),
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "meters": self.meters.state_dict(),
            "position": self.position,
            "seconds": self.seconds,
            "data_wait_seconds": self.data_wait_seconds,
            "history": self.history,
            "best": self.best,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state.

        Any exception means that the state has another structure, and leaves this object unusable.
        """
        self.student.load_state_dict(state["student"])
        self.distiller.load_state_dict(state["distiller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.learning_rates.attach(self.optimizer)
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.meters.load_state_dict(state["meters"])
        epoch, step = state["position"]
        self.position = (epoch, step)
        self.seconds = state["seconds"]
        self.data_wait_seconds = state["waited" if "waited" in state else "data_wait_seconds"]
        self.history = list(state["history"])
        if len(self.history) != epoch - 1:
            raise ValueError(f"{len(self.history)} epochs in the history at epoch {epoch}")
        self.best = state["best"]


def _initial_preprocessing(checkpoint: Checkpoint, preset: Preset) -> Preprocessing:
    """Normalization and interpolation of the initial weights, size and crop of the preset."""
    data = preset.data
    initial = checkpoint.preprocessing(preset.student, data, data.image_size)
    return replace(initial, image_size=data.image_size, crop=data.test_crop, squash=False)


def create_student(preset: Preset) -> Network:
    """The student, initialized with the seed of the preset: the same on every device.

    Raises:
        RequestError: the network does not exist or does not support the image size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        classes = preset.data.class_count
        return create_model(preset.student_model, classes, preset.data.image_size, preset.drop_path)


def create_seeded_distiller(
    preset: Preset,
    teacher: Network | None = None,
    targets: Tensor | None = None,
    student: Network | None = None,
    class_outputs: Callable[[], Tensor] | None = None,
) -> Distiller:
    """The method, initialized with the seed of the preset; arguments of ``create_distiller``.

    Raises:
        RequestError: the method uses features that one of the networks does not have.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        return create_distiller(preset, teacher, targets, student, class_outputs)
