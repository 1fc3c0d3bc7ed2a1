"""kill -9 at random moments: the resumed runs end with the weights of an uninterrupted one."""

from pathlib import Path

import pytest

from tests.engine.kills import kill_and_resume


def test_a_kill_leaves_no_trace_in_the_weights(tmp_path: Path) -> None:
    expected, found = kill_and_resume(tmp_path, kills=1)
    assert found == [expected] * len(found)


@pytest.mark.slow
def test_twenty_kills_leave_no_trace_in_the_weights(tmp_path: Path) -> None:
    expected, found = kill_and_resume(tmp_path, kills=20)
    assert found == [expected] * len(found)
