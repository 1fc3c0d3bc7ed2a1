"""Signals that end a process."""

import os
import signal
from types import SimpleNamespace

import pytest

from lskd_cli.cli.terminal import signals
from lskd_cli.cli.terminal.signals import stop_requests


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_signals_that_are_sent_several_times_stop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    with stop_requests() as should_stop:
        assert not should_stop()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            _send(number)
        assert should_stop()
        seconds[0] = 5.0
        _send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            _send(signal.SIGINT)


def test_a_signal_during_another_message_stops_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(message: str) -> None:
        raise RuntimeError("reentrant call inside a writer")

    monkeypatch.setattr(signals, "info", fail)
    with stop_requests() as should_stop:
        _send(signal.SIGTERM)
        assert should_stop()
