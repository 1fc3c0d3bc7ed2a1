"""The mistakes of ``make test-mutations`` can still be made."""

import yaml

from tests.mutations.__main__ import MISTAKES, Mistake


def test_the_text_of_every_mistake_occurs_once() -> None:
    for entry in yaml.safe_load(MISTAKES.read_text()):
        mistake = Mistake(**entry)
        assert mistake.file()
        assert mistake.old != mistake.new
