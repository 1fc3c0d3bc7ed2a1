"""Access to the Hugging Face Hub."""

from collections.abc import Iterator
from contextlib import contextmanager

_TIMEOUT = 10.0  # seconds


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Within it, the Hub's library uses its cache only if the Hub does not answer one request.

    Otherwise, the library repeats every request several times, for half a minute each.
    """
    from huggingface_hub import constants, get_session

    before = constants.HF_HUB_OFFLINE
    if not before:
        try:
            get_session().head(constants.ENDPOINT, timeout=_TIMEOUT)
        # The library raises errors of several HTTP clients.
        except Exception:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
