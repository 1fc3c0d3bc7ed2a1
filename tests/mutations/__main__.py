"""Put small mistakes into the package, one at a time, and list which test notices each.

``python -m tests.mutations [NAME...]`` reads ``mistakes.yaml``. Each mistake is made in a copy of
the working tree. The tests that import the changed module or mirror its folder run first, and the
whole suite only if all of them pass. Finished results are kept in a file, so that an interrupted
campaign continues where it stopped; remove the file to start over.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MISTAKES = Path(__file__).with_name("mistakes.yaml")
SUITE = ["tests"]
# Files with long tests, which pytest starts first in a whole run, and which run last here.
LONG = re.findall(r'"(tests/\S+\.py)"', (ROOT / "pyproject.toml").read_text())
TIMEOUT = 3600  # seconds of the tests of one mistake
GOAL = 0.95  # fraction of the mistakes that must be noticed


@dataclass(frozen=True)
class Mistake:
    """A text of the package and its replacement.

    Attributes:
        name: identifier in the results.
        mistake: what is wrong after the replacement.
        old: text that occurs exactly once in the package.
        new: its replacement.
    """

    name: str
    mistake: str
    old: str
    new: str

    def file(self) -> Path:
        """The file with the text, relative to the root of the repository."""
        files = (ROOT / "lskd_cli").rglob("*.py")
        found = [path for path in files for _ in range(path.read_text().count(self.old))]
        if len(found) != 1:
            raise SystemExit(f"{self.name}: its text occurs {len(found)} times in the package")
        return found[0].relative_to(ROOT)


def related_tests(file: Path) -> list[str]:
    """Files that import a module or mirror its folder; importing ones first, long ones last."""
    module = ".".join(file.with_suffix("").parts)
    package, _, name = module.rpartition(".")
    imports = re.compile(
        rf"{re.escape(module)}\b|from {re.escape(package)} import [^\n]*\b{name}\b"
    )
    folder = ROOT / "tests" / Path(*file.parts[1:]).parent
    ranks: dict[str, tuple[bool, bool, bool]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        has_name = path.stem == f"test_{name}"
        is_direct = has_name or bool(imports.search(path.read_text()))
        if is_direct or path.parent == folder:
            test = str(path.relative_to(ROOT))
            ranks[test] = (not has_name, test in LONG, not is_direct)
    return sorted(ranks, key=lambda test: ranks[test])


def first_failure(folder: Path, tests: Sequence[str]) -> str | None:
    """The first test that fails in a copy of the repository; None if all pass."""
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=no"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    if done.returncode in (0, 5):  # passed, or all tests of the files are deselected
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if not found:
        raise SystemExit(f"pytest {' '.join(tests)}: {done.stdout}{done.stderr}")
    return found[1]


def copy_working_tree(folder: Path) -> None:
    """Copy all files that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def check(mistake: Mistake, related_only: bool) -> dict[str, str | None]:
    """Make a mistake in a copy of the repository and run tests until one fails."""
    file = mistake.file()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copy"
        copy_working_tree(folder)
        path = folder / file
        path.write_text(path.read_text().replace(mistake.old, mistake.new))
        failure = first_failure(folder, related_tests(file) or SUITE)
        if failure is None and not related_only:
            failure = first_failure(folder, SUITE)
    return {**asdict(mistake), "file": str(file), "noticed_by": failure}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="mistakes to make; all by default")
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "mutations.jsonl")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--related", action="store_true", help="skip the whole suite")
    options = parser.parse_args()
    mistakes = [Mistake(**entry) for entry in yaml.safe_load(MISTAKES.read_text())]
    selected = [m for m in mistakes if not options.names or m.name in options.names]
    for mistake in selected:
        mistake.file()  # a text that no longer occurs is reported before anything runs
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.touch()
    lines = options.results.read_text().splitlines()
    results = {entry["name"]: entry for entry in map(json.loads, lines)}
    missing = [mistake for mistake in selected if mistake.name not in results]
    with ThreadPoolExecutor(options.jobs) as pool, options.results.open("a") as file:
        for result in pool.map(partial(check, related_only=options.related), missing):
            results[result["name"]] = result
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(f"{result['name']}: {result['noticed_by'] or 'NOT NOTICED'}", flush=True)
    found = [results[mistake.name] for mistake in selected]
    survivors = [entry["name"] for entry in found if not entry["noticed_by"]]
    print(f"{len(found) - len(survivors)} of {len(found)} mistakes are noticed")
    if survivors:
        print(f"not noticed: {', '.join(survivors)}")
    return int(len(survivors) > (1 - GOAL) * len(found))


if __name__ == "__main__":
    sys.exit(main())
