"""The table of a search: the best settings of each form beside those of the preset."""

from dataclasses import dataclass

from lskd_cli.config.search_space import Form
from lskd_cli.results.tables.table_format import Column, Table, format_value
from lskd_cli.search_info import SearchInfo, TrialInfo, settings_text
from lskd_cli.wording import counted


@dataclass(frozen=True)
class SearchRow:
    """The best trial of a form.

    Attributes:
        form: whether logits are standardized.
        settings: its settings.
        top1: its accuracy on the held-out images after the last epoch, in percent.
        preset: accuracy with the settings of the preset; None without such a complete trial.
        complete: number of complete trials.
        pruned: number of pruned trials.
        failed: number of failed trials.
    """

    form: Form
    settings: str
    top1: float | None
    preset: float | None
    complete: int
    pruned: int
    failed: int


def make_search_table(info: SearchInfo) -> Table:
    """The best settings of each form."""
    rows = [_row(info, form) for form in info.dimensions]
    columns = [
        Column("form", "text", lambda row: row.form),
        Column("best settings", "text", lambda row: row.settings),
        Column("top-1", "number", lambda row: format_value(row.top1)),
        Column("preset", "number", lambda row: format_value(row.preset)),
        Column("complete", "number", lambda row: str(row.complete)),
        Column("pruned", "number", lambda row: str(row.pruned)),
        Column("failed", "number", lambda row: str(row.failed)),
    ]
    if not any(row.failed for row in rows):
        columns = columns[:-1]
    caption = (
        "top-1: accuracy on the held-out images after the last epoch, in percent; preset: the same "
        "with the settings of the preset; complete, pruned, failed: numbers of trials. The best "
        "of several trials is better by chance on these images."
    )
    seeds = f", mean of {counted(len(info.seeds), 'seed')}" if len(info.seeds) > 1 else ""
    title = (
        f"{info.name}: top-1 accuracy on {info.held_out:,} held-out training images "
        f"after {counted(info.epochs, 'epoch')}{seeds}"
    )
    return Table(title, caption, _importance_note(info), columns, rows, [vars(row) for row in rows])


def _row(info: SearchInfo, form: Form) -> SearchRow:
    trials = [trial for trial in info.trials if trial.form == form]
    best = info.best(form)
    preset = next((t for t in trials if t.is_preset and t.state == "complete"), None)
    return SearchRow(
        form,
        settings_text(best.settings) if best else "none",
        best.top1 if best else None,
        preset.top1 if preset else None,
        _count(trials, "complete"),
        _count(trials, "pruned"),
        _count(trials, "failed"),
    )


def _count(trials: list[TrialInfo], state: str) -> int:
    return sum(trial.state == state for trial in trials)


def _importance_note(info: SearchInfo) -> str:
    notes = []
    for form, importances in info.importances.items():
        if importances:
            values = ", ".join(f"{label} {value:.0%}" for label, value in importances.items())
            epoch = info.importance_epoch[form]
            notes.append(
                f"Importance ({form}, accuracies after epoch {epoch} of all trials): {values}."
            )
    return " ".join(notes)
