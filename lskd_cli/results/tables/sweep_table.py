"""The table of a sweep: accuracy by base temperature and weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from lskd_cli.results.grouping import RunGroup
from lskd_cli.results.runs import EpochName
from lskd_cli.results.seed_stats import SeedStats, top1_by_seed
from lskd_cli.results.sweeps import Sweep
from lskd_cli.results.tables.table_format import Column, Table, epoch_note, format_stats
from lskd_cli.wording import value_text


@dataclass(frozen=True)
class SweepRow:
    """The accuracies of a base temperature.

    Attributes:
        temperature: base temperature.
        stats: accuracies in percent, by weight.
    """

    temperature: float
    stats: Mapping[float, SeedStats | None]


def make_sweep_table(group: RunGroup, sweep: Sweep, epoch: EpochName) -> Table:
    """A row for each base temperature and a column for each weight.

    Raises:
        RequestError: two runs of a point have the same seed.
    """
    stats = {
        point: SeedStats.of(list(top1_by_seed(runs, epoch).values()))
        for point, runs in sweep.points.items()
    }
    weights = sorted({weight for _, weight in stats})
    temperatures = sorted({temperature for temperature, _ in stats})
    rows = [
        SweepRow(temperature, {weight: stats.get((temperature, weight)) for weight in weights})
        for temperature in temperatures
    ]
    columns = [Column("temperature", "number", lambda row: f"{row.temperature:g}")]
    columns += [
        Column(f"weight {weight:g}", "number", partial(_cell, weight)) for weight in weights
    ]
    selection = "val" if group.runs[-1].preset.data.val_split else "test"
    title = (
        f"{sweep.method}+Ours by base temperature and weight, {group.title}: top-1 test accuracy "
        f"(%) of {epoch_note(epoch, [selection])}"
    )
    notes = "".join(f"{key} {value_text(value)}. " for key, value in sweep.other_settings.items())
    if sweep.plain:
        plain = SeedStats.of(list(top1_by_seed(sweep.plain, epoch).values()))
        notes += f"Plain {sweep.method}: {format_stats(plain)}."
    if sweep.default in sweep.points:
        temperature, weight = sweep.default or (0, 0)
        notes += f" The preset has base temperature {temperature:g} and weight {weight:g}."
    return Table(title, "", notes.strip(), columns, rows, [])


def _cell(weight: float, row: SweepRow) -> str:
    return format_stats(row.stats[weight])
