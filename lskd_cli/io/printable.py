"""Text from outside (files, servers, file names) in a form that is safe to print."""

import html
import re
from typing import Any

_MAX_REPR = 80  # characters


def printable(text: str) -> str:
    r"""The text with all characters escaped that a terminal could interpret.

    Line breaks and tabs stay. Escape sequences, other control characters and lone surrogates become
    escapes such as ``\x1b``.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def printable_line(text: str) -> str:
    r"""The text on one line: line breaks and tabs are escaped too, for example as ``\n``."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def without_passwords(text: str) -> str:
    """The text with the passwords of URLs, before a host and in a query, replaced by ``***``."""
    text = re.sub(r"(://[^/?#:@\s]*):[^/?#\s]*@", r"\1:***@", text)
    return re.sub(r"(password=)[^&\s]*", r"\1***", text)


def escape_markdown(text: str) -> str:
    """The text with the characters escaped that end a cell of a table or start HTML."""
    return html.escape(text, quote=False).replace("|", "\\|")


def short_repr(value: Any) -> str:
    """``repr`` of a value; the middle of a long one is left out."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to convert integers of more than 4300 digits
        return "a number with too many digits"
    return shorten(text)


def shorten(text: str) -> str:
    """The text; the middle of a long one is left out."""
    half = _MAX_REPR // 2
    return text if len(text) <= _MAX_REPR else f"{text[:half]}...{text[-half:]}"
