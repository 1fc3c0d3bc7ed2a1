"""One request decides whether the Hugging Face Hub is used."""

from collections.abc import Iterator

import huggingface_hub
import pytest
from huggingface_hub import constants

from lskd_cli.io.hub import offline_if_unreachable


class _Session:
    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.requests: list[str] = []

    def head(self, url: str, timeout: float) -> None:
        self.requests.append(url)
        if self.fails:
            raise OSError("Name or service not known")


@pytest.fixture(params=[False, True], ids=["reachable", "unreachable"])
def session(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Session]:
    session = _Session(request.param)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield session
    assert len(session.requests) <= 1


def test_an_unreachable_hub_is_asked_once(session: _Session) -> None:
    with offline_if_unreachable():
        assert session.fails == constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    assert session.requests == [constants.ENDPOINT]


def test_the_mode_is_restored_after_an_error(session: _Session) -> None:
    with pytest.raises(ValueError, match="corrupt"), offline_if_unreachable():
        raise ValueError("corrupt")
    assert not constants.HF_HUB_OFFLINE


def test_nothing_is_asked_in_offline_mode(
    session: _Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with offline_if_unreachable():
        assert constants.HF_HUB_OFFLINE
    assert session.requests == []
