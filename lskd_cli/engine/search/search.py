"""The rounds of a search: each one is a joint run of the trials that this process has claimed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lskd_cli.config import TrainingOptions
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.planning.prepare import LoadedFiles, prepare
from lskd_cli.engine.search.study import SearchStudy, Trial
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.train import train_joint_run
from lskd_cli.errors import (
    DivergenceError,
    Interrupted,
    RequestError,
    RunError,
    is_out_of_memory,
)
from lskd_cli.io.download import Progress
from lskd_cli.search_info import TrialState


class SearchCallback(Callback):
    """A callback that also follows trials; by default its methods do nothing."""

    def on_trials_start(self, trials: Sequence[Trial]) -> None:
        """A joint run of these trials starts, or is resumed."""

    def on_trial_end(self, trial: Trial) -> None:
        """A trial is complete, pruned or failed."""


@dataclass
class SearchRun:
    """What the rounds of a search have in common.

    Attributes:
        study: the search.
        options: folders and other options of the training.
        runtime: device and precision.
        progress: progress of loading images.
        files: teachers and images, which are loaded once.
        callback: follows the training and the trials.
        command: command line, for run.json.
        should_stop: called after every launch of steps; True saves all trials and stops.
    """

    study: SearchStudy
    options: TrainingOptions
    runtime: Runtime
    progress: Progress
    files: LoadedFiles
    callback: SearchCallback
    command: str
    should_stop: Callable[[], bool]

    def run(self, num_parallel: int) -> None:
        """Train trials until all are finished, or trained by other processes.

        Args:
            num_parallel: largest number of trials of a joint run.

        Raises:
            RequestError: a saved state of a trial does not fit.
            RunError: the training or the storage failed; unfinished trials can be resumed.
            Interrupted: ``should_stop`` returned True; unfinished trials can be resumed.
        """
        while trials := self.study.claim(num_parallel):
            try:
                self._train_or_fail(trials)
            finally:
                for trial in trials:
                    trial.lock.close()

    def _train_or_fail(self, trials: Sequence[Trial]) -> None:
        """Train trials together; if their settings do not permit it, each by itself.

        A trial that cannot be trained even by itself fails, and the search continues.
        """
        try:
            self._train(trials)
        except (RequestError, RunError) as error:
            cause = error.__cause__
            if isinstance(error, RunError) and not (cause and is_out_of_memory(cause)):
                raise
            if len(trials) == 1 and trials[0].is_preset:
                raise  # not because of the settings of a trial
            for trial in trials if len(trials) > 1 else ():
                if trial.state == "running":
                    self._train_or_fail([trial])
            if len(trials) == 1:
                self.study.finish(trials[0], "failed", str(error))
                self.callback.on_trial_end(trials[0])

    def _train(self, trials: Sequence[Trial]) -> None:
        presets = [preset for trial in trials for preset in trial.presets]
        self.callback.on_trials_start(trials)
        with prepare(presets, self.options, self.runtime, self.progress, loaded=self.files) as plan:
            for joint_run in plan.joint_runs:
                if self.should_stop():
                    raise Interrupted("stopped between two joint runs")
                joint_run.evaluates_test = False
                students = joint_run.create_students()
                paths = {run.preset.run_path for run in joint_run.runs}
                members = [t for t in trials if t.presets[0].run_path in paths]
                decisions = _Decisions(self.study, members, students, self.callback)
                decisions.on_joint_epoch_end(students)  # epochs of a run that is resumed
                callbacks = [decisions, self.callback]
                train_joint_run(joint_run, students, callbacks, self.command, self.should_stop)


class _Decisions(Callback):
    """Reports the accuracies of trials, and lets the students of those that end leave."""

    def __init__(
        self,
        study: SearchStudy,
        trials: Sequence[Trial],
        students: Sequence[StudentTrainer],
        callback: SearchCallback,
    ) -> None:
        self.study = study
        self.callback = callback
        by_path = {student.preset.run_path: student for student in students}
        self.students = {
            trial.presets[0].run_path: [by_path[preset.run_path] for preset in trial.presets]
            for trial in trials
        }
        self.trials = list(trials)

    def on_joint_epoch_end(self, students: Sequence[StudentTrainer]) -> None:
        changed = []
        for trial in self.trials:
            histories = [student.history for student in self._students_of(trial)]
            accuracies = [
                fmean(epoch["val_top1"] for epoch in epochs)
                for epochs in zip(*histories, strict=False)
            ]
            if len(accuracies) > len(trial.accuracies) or len(accuracies) == self.study.epochs:
                self.study.report(trial, accuracies)
                changed.append(trial)
        # The pruner compares a trial with those before it, so that the best ones come first.
        for trial in sorted(changed, key=lambda trial: trial.accuracies[-1], reverse=True):
            if len(trial.accuracies) == self.study.epochs:
                self._end(trial, "complete")
            elif self.study.should_prune(trial):
                self._end(trial, "pruned")

    def on_divergence(self, student: StudentTrainer, error: DivergenceError) -> bool:
        for trial in self.trials:
            if student in self._students_of(trial):
                self._end(trial, "failed", str(error).partition(";")[0])
                break
        return True

    def _students_of(self, trial: Trial) -> list[StudentTrainer]:
        return self.students[trial.presets[0].run_path]

    def _end(self, trial: Trial, state: TrialState, error: str | None = None) -> None:
        for student in self._students_of(trial):
            student.has_left = True
        self.trials.remove(trial)
        self.study.finish(trial, state, error)
        self.callback.on_trial_end(trial)
