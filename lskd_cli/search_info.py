"""The content of ``search.json``: what a search is, and what its trials have reached."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from lskd_cli.config.search_space import Dimension, Form, Value
from lskd_cli.config.types import Text
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import regular_file, write_text
from lskd_cli.wording import value_text

SEARCH = "search.json"
SamplerName = Literal["tpe", "random", "grid", "cmaes"]
PrunerName = Literal["hyperband", "median", "none"]
TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in a few words, for example ``temperature 2.5, kd_weight 12``."""
    return ", ".join(
        f"{short_label(label)} {value_text(value)}" for label, value in settings.items()
    )


def short_label(label: str) -> str:
    """A label without the part of the preset that its trial determines."""
    key = label.partition(" (")[0]
    group, _, name = key.partition(".")
    return name if group in ("method", "stand") and name else key


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class TrialInfo(_Model):
    """A trial.

    Attributes:
        form: whether logits are standardized.
        number: number of the trial among those of its form, from 0.
        state: whether it is finished, and how.
        settings: value of each dimension, by label.
        accuracies: top-1 accuracy on the held-out images after each epoch in percent, mean over
            the seeds.
        is_preset: whether the settings are those of the preset.
        error: why it failed.
    """

    form: Form
    number: int
    state: TrialState
    settings: dict[Text, Value]
    accuracies: list[FiniteFloat]
    is_preset: bool = False
    error: Text | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the trial is complete, pruned or failed."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def top1(self) -> float | None:
        """Accuracy after the last epoch so far."""
        return self.accuracies[-1] if self.accuracies else None


class SearchInfo(_Model):
    """A search.

    Attributes:
        name: name of the preset.
        command: command line of the last start.
        pair: networks and data.
        epochs: number of epochs of a trial that is not pruned.
        seeds: seeds of each trial.
        num_trials: number of trials of both forms together.
        held_out: number of images that decide.
        sampler: what proposes settings.
        pruner: what ends trials early.
        dimensions: the search space of each form.
        trials: all trials.
        importances: importance of each dimension of each form, from 0 to 1.
        importance_epoch: the epoch whose accuracies the importances explain, by form.
    """

    name: Text
    command: Text
    pair: Text
    epochs: int
    seeds: list[int]
    num_trials: int
    held_out: int
    sampler: Text
    pruner: Text
    dimensions: dict[Form, list[Dimension]]
    trials: list[TrialInfo]
    importances: dict[Form, dict[Text, FiniteFloat]] = {}
    importance_epoch: dict[Form, int] = {}

    def best(self, form: Form) -> TrialInfo | None:
        """The complete trial of a form with the highest accuracy; None if there is none."""
        complete = [t for t in self.trials if t.form == form and t.state == "complete"]
        return max(complete, key=lambda trial: trial.top1 or 0.0, default=None)


def read_search_info(path: Path) -> SearchInfo:
    """Read a ``search.json``.

    Raises:
        RequestError: the file cannot be read or is corrupt.
    """
    try:
        return SearchInfo.model_validate_json(regular_file(path).read_bytes())
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError:
        raise RequestError(f"{path}: corrupt; the same 'lskd tune' writes it again") from None


def write_search_info(path: Path, info: SearchInfo) -> None:
    """Replace a ``search.json``.

    Raises:
        RunError: the file cannot be written.
    """
    write_text(path, info.model_dump_json(indent=2) + "\n")


def find_searches(runs_dir: Path, warn: Callable[[str], None]) -> list[SearchInfo]:
    """The searches in a folder of runs, without archived ones.

    Args:
        runs_dir: searched for folders with a ``search.json``.
        warn: called for a file that cannot be read.
    """
    searches = []
    for path in find_search_files(runs_dir):
        try:
            searches.append(read_search_info(path))
        except RequestError as error:
            warn(f"{error}; this search is left out")
    return searches


def find_search_files(runs_dir: Path) -> list[Path]:
    """The files of the searches in a folder of runs, without archived ones."""
    paths = sorted(runs_dir.glob(f"*/{SEARCH}"))
    return [path for path in paths if not re.search(r"\.old\d+$", path.parent.name)]
