"""User-provided Python files: methods (``--method-file``), and networks (``--model-file``)."""

import importlib.util
import os
import sys
from pathlib import Path

from lskd_cli.config.methods.builtin import NO_METHOD, builtin_methods
from lskd_cli.config.methods.registry import loaded_methods
from lskd_cli.config.plugin_errors import describe_error, format_plugin_error, plugin_files
from lskd_cli.errors import RequestError


def execute_plugin_file(path: Path, option: str) -> None:
    """Execute a Python file.

    Args:
        path: the file.
        option: the option that names it, for error messages.

    Raises:
        RequestError: the file does not exist or fails; the message names the line.
    """
    file = Path(os.path.realpath(path))  # resolve() raises RuntimeError for a loop of links
    spec = importlib.util.spec_from_file_location(f"lskd_plugin_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise RequestError(f"{option} {path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    plugin_files.add(file)
    try:
        spec.loader.exec_module(module)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise RequestError(
            format_plugin_error(error) or f"{path}: {describe_error(error)}"
        ) from error


def load_method_file(path: Path) -> None:
    """Execute a Python file that registers methods.

    Raises:
        RequestError: the file does not exist, fails (the message names the line), or registers
            no method.
    """
    before = loaded_methods()
    execute_plugin_file(path, "--method-file")
    # Importing the file may have loaded built-in methods, which do not count.
    registered = [name for name, config in loaded_methods().items() if before.get(name) != config]
    if not set(registered) - {NO_METHOD, *builtin_methods()}:
        raise RequestError(f"{path}: registers no method; decorate its distiller with @register")
