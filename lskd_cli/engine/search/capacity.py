"""How many trials train together: as many as fit into the memory, measured."""

from dataclasses import dataclass

import psutil
import torch

from lskd_cli.config import Preset
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.cost import measure_step

_MEMORY_FRACTION = 0.85  # of the free memory that is used


@dataclass(frozen=True)
class Capacity:
    """Measured cost of joint runs.

    Attributes:
        students: number of students that fit into the memory.
        first_seconds: time of a step with one student.
        further_seconds: additional time for each further student.
    """

    students: int
    first_seconds: float
    further_seconds: float

    def step_seconds(self, students: int) -> float:
        """Estimated time of a step of a joint run."""
        return self.first_seconds + (students - 1) * self.further_seconds


def measure_capacity(preset: Preset, num_images: int, runtime: Runtime) -> Capacity:
    """Measure steps of one and two students on random images.

    Args:
        preset: preset of all students.
        num_images: number of training images.
        runtime: device and precision.
    """
    one, two = (measure_step([preset] * count, num_images, runtime) for count in (1, 2))
    further = max((two.memory or 0) - (one.memory or 0), 1)
    free = _free_memory(runtime.device) * _MEMORY_FRACTION
    students = 1 + max(int((free - (one.memory or 0)) // further), 0)
    seconds = max(two.step_seconds - one.step_seconds, 0.0)
    return Capacity(students, one.step_seconds, seconds)


def _free_memory(device: torch.device) -> int:
    """Bytes that this process may use, including those that it uses now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    return int(psutil.virtual_memory().available + psutil.Process().memory_info().rss)
