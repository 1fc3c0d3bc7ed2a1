"""What a part of the campaign tried, and what failed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lskd_cli.errors import RequestError, RunError


@dataclass
class Outcome:
    """Figures of one class of faults.

    Attributes:
        fault: the class of faults.
        expectation: what has to happen.
        tried: number of cases.
        failures: a line for each case in which something else happened.
    """

    fault: str
    expectation: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def check(self, case: str, is_right: bool) -> None:
        """Count a case."""
        self.tried += 1
        if not is_right:
            self.failures.append(case)

    def row(self) -> str:
        """The outcome as a row of a Markdown table."""
        passed = self.tried - len(self.failures)
        return f"| {self.fault} | {self.expectation} | {self.tried} | {passed} |"


def ends_well(action: Callable[[], object]) -> str | None:
    """Run an action; None if it succeeds or is refused with a message, else what happened."""
    try:
        action()
    except (RequestError, RunError) as error:
        text = str(error)
        return None if text and len(text) < 5000 else f"message of {len(text)} characters"
    except BaseException as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return None
