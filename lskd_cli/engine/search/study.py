"""One search: an Optuna study for each form in one storage, and the trials of this process."""

import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from filelock import Timeout
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as State

from lskd_cli.config import Preset
from lskd_cli.config.search_space import Form, FormSpace, Value
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.search.proposals import (
    create_pruner,
    create_sampler,
    grid_points,
    settings_of,
    suggest,
)
from lskd_cli.engine.search.storage import open_storage, storage_errors, storage_name
from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import write_text
from lskd_cli.io.locks import file_lock
from lskd_cli.search_info import PrunerName, SamplerName, TrialInfo, TrialState

TRIALS = "trials"  # folder of the runs of unfinished trials
_ID = "id"  # file with an identifier of the folder
_FOLDER, _REQUEST, _ERROR, _PRESET = "folder", "request", "error", "is_preset"  # attributes
_STATES: dict[State, TrialState] = {
    State.WAITING: "waiting",
    State.RUNNING: "running",
    State.COMPLETE: "complete",
    State.PRUNED: "pruned",
    State.FAIL: "failed",
}
_MIN_TRIALS = 4  # for importances
_SEED_STEP = 1_000_003  # between the seeds of the samplers of two searches


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search.

    Attributes:
        num_trials: number of trials of all forms together; None for all points of a grid.
        seeds: seeds of each trial.
        sampler: what proposes settings.
        pruner: what ends trials early.
        storage: URL of a database; None for a journal in the folder of the search.
    """

    num_trials: int | None
    seeds: Sequence[int]
    sampler: SamplerName
    pruner: PrunerName
    storage: str | None = None


@dataclass
class Trial:
    """A trial that this process trains.

    Attributes:
        form: whether logits are standardized.
        number: number of the trial among those of its form.
        settings: value of each dimension, by label.
        presets: preset for each seed.
        accuracies: mean accuracy on the held-out images after each epoch, in percent.
        is_preset: whether the settings are those of the preset, which is never pruned.
        state: "running" until it is complete, pruned or failed.
        error: why it failed.
    """

    form: Form
    number: int
    settings: Mapping[str, Value]
    presets: Sequence[Preset]
    optuna_trial: optuna.Trial
    lock: ExitStack
    is_preset: bool = False
    accuracies: list[float] = field(default_factory=list)
    state: TrialState = "running"
    error: str | None = None


class SearchStudy:
    """The trials of a search, which several processes and machines may share.

    A trial belongs to the folder in which its runs are. Its lock ends with the process that trains
    it, so that another process with the same folder continues a trial whose process was killed.
    """

    def __init__(
        self,
        spaces: Sequence[FormSpace],
        folder: Path,
        options: SearchOptions,
        request: Mapping[str, Any],
    ) -> None:
        """Create or open a search.

        Args:
            spaces: search space of each form.
            folder: folder of the search.
            options: number of trials, sampler, pruner and storage.
            request: what all trials have in common, as JSON; another request is another search.

        Raises:
            RequestError: the storage cannot be opened, or belongs to another search.
        """
        self.spaces = {space.form: space for space in spaces}
        self.folder = folder
        self.options = options
        self.name = next(iter(spaces[0].bases.values())).name
        self.epochs = next(iter(spaces[0].bases.values())).schedule.epochs
        grids = (
            {space.form: list(grid_points(space)) for space in spaces}
            if options.sampler == "grid"
            else {}
        )
        self.quotas = _quotas(options.num_trials, list(self.spaces), grids)
        with self._locked():
            storage = open_storage(options.storage, folder)
            self.id = self._read_id()
            self.studies = {}
            names = {space.form: f"{self.name}/{space.form}" for space in spaces}
            for name in sorted({*names.values()} & {*optuna.get_all_study_names(storage)}):
                self._check_request(optuna.load_study(study_name=name, storage=storage), request)
            for space in spaces:
                study = optuna.create_study(
                    storage=storage,
                    study_name=names[space.form],
                    direction="maximize",
                    load_if_exists=True,
                    pruner=create_pruner(options.pruner, self.epochs),
                )
                if _REQUEST not in study.user_attrs:
                    for point in grids.get(space.form) or _preset_points(space):
                        attributes = {_PRESET: space.form not in grids}
                        study.enqueue_trial(point, user_attrs=attributes, skip_if_exists=True)
                    study.set_user_attr(_REQUEST, dict(request))
                self.studies[space.form] = study

    @property
    def num_trials(self) -> int:
        """Number of trials of all forms together."""
        return sum(self.quotas.values())

    def claim(self, count: int) -> list[Trial]:
        """Trials for this process: first those that no process trains any more, then new ones.

        Args:
            count: largest number of trials.

        Returns:
            Nothing if all trials are finished, or trained by other processes.

        Raises:
            RunError: the storage cannot be read or written.
        """
        claimed: list[Trial] = []
        with self._locked():
            for form, study in self.studies.items():
                for frozen in study.get_trials(deepcopy=False):
                    if not self._is_own(frozen):
                        continue
                    if frozen.state.is_finished():
                        self._remove_runs(form, frozen.number)
                    elif len(claimed) < count:
                        trial = self._resume(form, frozen)
                        claimed += [trial] if trial is not None else []
            while len(claimed) < count and (next_form := self._next_form()) is not None:
                trial = self._ask(next_form)
                claimed += [trial] if trial is not None else []
        return claimed

    def report(self, trial: Trial, accuracies: Sequence[float]) -> None:
        """Store accuracies of the epochs of a trial that the storage does not have yet."""
        with storage_errors(self.options.storage, self.folder):
            for epoch in range(len(trial.accuracies) + 1, len(accuracies) + 1):
                trial.optuna_trial.report(accuracies[epoch - 1], epoch)
                trial.accuracies.append(accuracies[epoch - 1])

    def should_prune(self, trial: Trial) -> bool:
        """Whether a trial is pruned after its last epoch; the pruner remembers its accuracy."""
        with storage_errors(self.options.storage, self.folder):
            return trial.optuna_trial.should_prune() and not trial.is_preset

    def finish(self, trial: Trial, state: TrialState, error: str | None = None) -> None:
        """End a trial that is complete, pruned or failed, and remove its runs.

        Raises:
            RunError: the storage cannot be written.
        """
        states = {name: state for state, name in _STATES.items()}
        value = trial.accuracies[-1] if state == "complete" else None
        with storage_errors(self.options.storage, self.folder):
            if error is not None:
                trial.optuna_trial.set_user_attr(_ERROR, error)
            self.studies[trial.form].tell(trial.number, value, state=states[state])
        trial.state, trial.error = state, error
        self._remove_runs(trial.form, trial.number)
        trial.lock.close()

    def trials(self) -> list[TrialInfo]:
        """All trials of all processes.

        Raises:
            RunError: the storage cannot be read.
        """
        with storage_errors(self.options.storage, self.folder):
            return [
                self._info(form, frozen)
                for form, study in self.studies.items()
                for frozen in study.get_trials(deepcopy=False)
                if _FOLDER in frozen.user_attrs
            ]

    def importances(self, form: Form) -> tuple[dict[str, float], int]:
        """Importance of each dimension, and the epoch whose accuracies they explain.

        This is the last epoch that all trials have finished, because complete trials alone would
        be few. Empty with fewer than four trials.
        """
        trials = [
            trial
            for trial in self.studies[form].get_trials(deepcopy=False)
            if trial.intermediate_values and trial.state.is_finished()
        ]
        epoch = min((len(trial.intermediate_values) for trial in trials), default=0)
        if len(trials) < _MIN_TRIALS:
            return {}, epoch
        same_epoch = optuna.create_study(direction="maximize")
        for trial in trials:
            same_epoch.add_trial(
                create_trial(
                    params=trial.params,
                    distributions=trial.distributions,
                    value=trial.intermediate_values[epoch],
                )
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # many equal accuracies
            found = optuna.importance.get_param_importances(same_epoch)
        return {label: float(value) for label, value in found.items()}, epoch

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process of the folder at a time chooses trials."""
        with (
            storage_errors(self.options.storage, self.folder),
            file_lock(self.folder / "study", wait=True),
        ):
            yield

    def _read_id(self) -> str:
        path = self.folder / _ID
        if not path.exists():
            write_text(path, uuid.uuid4().hex)
        return path.read_text(encoding="utf-8")

    def _check_request(self, study: optuna.Study, request: Mapping[str, Any]) -> None:
        saved = study.user_attrs.get(_REQUEST)
        if saved is None:
            return
        # A search that an earlier version has begun may lack a key.
        different = [key for key in request if saved.get(key, request[key]) != request[key]]
        if not different:
            study.set_user_attr(_REQUEST, {**saved, **request})
            return
        differ = "differs" if len(different) == 1 else "differ"
        fresh = "" if self.options.storage else ", or --fresh"
        raise RequestError(
            f"{storage_name(self.options.storage, self.folder)}: belongs to another search "
            f"({', '.join(different)} {differ}); use --set name=NEW for a search of its own{fresh}"
        )

    def _next_form(self) -> Form | None:
        """The form with the fewest trials, of those that are not complete; None if all are."""
        counts = {
            form: len([t for t in study.get_trials(deepcopy=False) if _FOLDER in t.user_attrs])
            for form, study in self.studies.items()
        }
        missing = [form for form, count in counts.items() if count < self.quotas[form]]
        return min(missing, key=lambda form: counts[form], default=None)

    def _ask(self, form: Form) -> Trial | None:
        """A new trial; None if its settings do not fit together."""
        study, space = self.studies[form], self.spaces[form]
        number = len(study.get_trials(deepcopy=False))
        seed = (self.options.seeds[0] * _SEED_STEP + number) % 2**32
        study.sampler = create_sampler(self.options.sampler, space, seed)
        return self._start(form, study.ask())

    def _start(self, form: Form, trial: optuna.Trial) -> Trial | None:
        """A trial of this folder with all its settings; those that it has already stay."""
        suggest(trial, self.spaces[form])
        trial.set_user_attr(_FOLDER, self.id)
        return self._create(form, trial)

    def _resume(self, form: Form, frozen: FrozenTrial) -> Trial | None:
        """A trial of this folder that is not finished; None if another process trains it."""
        # Optuna has no public access to a running trial of another process.
        trial = optuna.Trial(self.studies[form], frozen._trial_id)
        if _FOLDER not in frozen.user_attrs:
            return self._start(form, trial)
        return self._create(form, trial, frozen)

    def _is_own(self, frozen: FrozenTrial) -> bool:
        """Whether a trial belongs to this folder.

        One without a folder does too if its process was killed before it had one: only this folder
        has its journal.
        """
        is_new = frozen.state == State.RUNNING and self.options.storage is None
        folder: str | None = frozen.user_attrs.get(_FOLDER, self.id if is_new else None)
        return folder == self.id

    def _create(
        self, form: Form, trial: optuna.Trial, saved: FrozenTrial | None = None
    ) -> Trial | None:
        lock = ExitStack()
        try:
            lock.enter_context(file_lock(self._path(form, trial.number), wait=False))
        except Timeout:
            return None
        # Another process may have finished it since the trials were listed.
        if self.studies[form].get_trials(deepcopy=False)[trial.number].state.is_finished():
            lock.close()
            return None
        settings = settings_of(trial.params, self.spaces[form])
        is_preset = trial.user_attrs.get(_PRESET, False)
        created = Trial(form, trial.number, settings, [], trial, lock, is_preset)
        if saved is not None:
            created.accuracies = _accuracies(saved)
        try:
            created.presets = [
                self.spaces[form].trial_preset(settings, f"trial{trial.number}", seed)
                for seed in self.options.seeds
            ]
        except RequestError as error:
            self.finish(created, "failed", str(error))
            return None
        return created

    def _path(self, form: Form, number: int, optimizer: str = "") -> Path:
        """The folder of the runs of a trial, as ``Preset.run_name`` has it."""
        suffix = "+stand" if form == "standardized" else ""
        return self.folder / TRIALS / f"trial{number}{optimizer}{suffix}"

    def _remove_runs(self, form: Form, number: int) -> None:
        for optimizer in ("", "+dot"):
            shutil.rmtree(self._path(form, number, optimizer), ignore_errors=True)

    def _info(self, form: Form, trial: FrozenTrial) -> TrialInfo:
        return TrialInfo(
            form=form,
            number=trial.number,
            state=_STATES[trial.state],
            settings=settings_of(trial.params, self.spaces[form]),
            accuracies=_accuracies(trial),
            is_preset=trial.user_attrs.get(_PRESET, False),
            error=trial.user_attrs.get(_ERROR),
        )


def archive_search(folder: Path) -> Path | None:
    """Rename the folder of a search to the first free NAME.oldN, and return its new path.

    Raises:
        RequestError: another process trains a trial of the search.
    """
    for lock in (folder / TRIALS).glob(".*.lock"):
        try:
            with file_lock(lock.with_name(lock.stem.removeprefix(".")), wait=False):
                pass
        except Timeout:
            raise RequestError(
                f"{folder}: another process is searching; stop it, or use --set name=NEW"
            ) from None
    return RunFolder(folder).archive()


def _accuracies(trial: FrozenTrial) -> list[float]:
    return [value for _, value in sorted(trial.intermediate_values.items())]


def _quotas(
    num_trials: int | None, forms: Sequence[Form], grids: Mapping[Form, Sequence[object]]
) -> dict[Form, int]:
    """Number of trials of each form; equal ones, except for the points of a grid."""
    if num_trials is None:
        return {form: len(points) for form, points in grids.items()}
    shares = {
        form: num_trials // len(forms) + (index < num_trials % len(forms))
        for index, form in enumerate(forms)
    }
    return {form: min(share, len(grids.get(form, range(share)))) for form, share in shares.items()}


def _preset_points(space: FormSpace) -> list[dict[str, Value]]:
    """The settings of the presets of all methods, as far as the space contains them."""
    points = [space.preset_settings(method) for method in space.methods]
    return [point for point in points if point is not None]
