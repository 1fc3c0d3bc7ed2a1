"""All tables of some runs."""

from collections.abc import Sequence

from lskd_cli.results.comparison import STATISTICS, caption, columns, make_rows
from lskd_cli.results.guided import (
    GUIDED_STATISTICS,
    guided_caption,
    guided_columns,
    is_guided,
    make_guided_rows,
)
from lskd_cli.results.runs import Run
from lskd_cli.results.table import Table, record


def make_tables(runs: Sequence[Run], accuracy: str) -> list[Table]:
    """Methods with and without standardization, and transformers; those that have rows.

    Args:
        runs: finished or not.
        accuracy: "best" or "last" epoch.

    Raises:
        RequestError: two runs are of the same settings and seed.
    """
    tables = []
    rows = make_rows([run for run in runs if not is_guided(run)], accuracy)
    if rows:
        records = [{"accuracy": accuracy} | record(row, STATISTICS) for row in rows]
        tables.append(Table(caption(rows, accuracy), columns(rows), rows, records))
    guided = make_guided_rows([run for run in runs if is_guided(run)], accuracy)
    if guided:
        records = [{"accuracy": accuracy} | record(row, GUIDED_STATISTICS) for row in guided]
        tables.append(
            Table(guided_caption(guided, accuracy), guided_columns(guided), guided, records)
        )
    return tables
