"""Words in messages."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, for example ``1 epoch`` and ``2 epochs``.

    Args:
        number: how many.
        noun: the singular.
        plural: the plural, if it is not the singular with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def value_text(value: object) -> str:
    """A value of a setting in a label."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value)
