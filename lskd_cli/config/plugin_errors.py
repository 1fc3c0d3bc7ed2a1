"""Error messages that name the file and line of a plug-in method or network."""

import traceback
from pathlib import Path

plugin_files: set[Path] = set()  # resolved paths of the files that define plug-ins


def describe_error(error: BaseException) -> str:
    """Type and first line of an error."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message.splitlines()[0] if message else ''}"


def format_plugin_error(error: BaseException) -> str | None:
    """An error that a plug-in raised, with its file and line; None for any other error."""
    frames = [
        (Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((Path(error.filename), error.lineno))
    locations = [f"{path}: line {line}: " for path, line in frames if path in plugin_files]
    return locations[-1] + describe_error(error) if locations else None
