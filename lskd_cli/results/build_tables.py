"""The tables of ``lskd compare`` and of the first part of a report."""

from collections.abc import Sequence

from lskd_cli.results.comparison import make_comparison
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.runs import Run
from lskd_cli.results.table_format import Table
from lskd_cli.results.transformer_table import is_transformer_run, make_transformer_table


def make_tables(runs: Sequence[Run], accuracy: str) -> list[Table]:
    """The comparison table, and the table of vision transformers; those that have rows.

    Args:
        runs: finished or unfinished runs.
        accuracy: "best" or "last" epoch.

    Raises:
        RequestError: two runs have the same settings and seed.
    """
    finished = [run for run in runs if run.is_finished]
    groups = group_runs([run for run in finished if not is_transformer_run(run)])
    transformer_groups = group_runs([run for run in finished if is_transformer_run(run)])
    tables = [
        make_comparison(groups, accuracy),
        make_transformer_table(transformer_groups, accuracy),
    ]
    return [table for table in tables if table is not None]
