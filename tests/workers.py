"""Processes of tests, forked from one that has imported torch and lskd, so that they start at once.

The processes are forked from a server instead of the test process: its libraries have started no
threads and no device.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
# The server imports them when the first process starts; later ones find them imported.
_CONTEXT.set_forkserver_preload(
    [
        "sklearn.datasets",  # imported by the digits set only when it is loaded
        "tests.engine.distributed_target",
        "tests.engine.kill_target",
        "tests.engine.search_target",
    ]
)


def start(
    function: Callable[..., object],
    *arguments: object,
    environment: Mapping[str, str] = {},
    out: Path | None = None,
    err: Path | None = None,
) -> BaseProcess:
    """Start a process that calls a function; its exit code is that of the function.

    Args:
        function: a function of a module.
        arguments: its arguments.
        environment: variables that are added to those of the server.
        out: file to which standard output is appended.
        err: file to which standard error is appended.
    """
    process = _CONTEXT.Process(
        target=_enter, args=(function, arguments, dict(environment), out, err)
    )
    process.start()
    return process


def _enter(
    function: Callable[..., object],
    arguments: tuple[object, ...],
    environment: dict[str, str],
    out: Path | None,
    err: Path | None,
) -> None:
    os.environ.update(environment)
    # Processes started in the background of a shell, or by nohup, inherit that these are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for descriptor, path in ((1, out), (2, err)):
        if path is not None:
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    function(*arguments)


def run_lskd(*arguments: str) -> None:
    """The program with its arguments, as ``lskd`` starts it."""
    sys.argv = ["lskd", *arguments]
    from lskd_cli.__main__ import main

    main()
