"""The folder of what lskd remembers between commands."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """``lskd`` in the user's cache folder, or in the temporary folder without a home directory."""
    configured = os.environ.get("XDG_CACHE_HOME")
    if configured:
        return Path(configured) / "lskd"
    try:
        return Path.home() / ".cache" / "lskd"
    except RuntimeError:  # a container may have no home directory
        return Path(tempfile.gettempdir()) / "lskd-cache"
