"""Types that several modules of the engine share."""

from collections.abc import Callable

Warn = Callable[[str], None]  # called with a message for the user
