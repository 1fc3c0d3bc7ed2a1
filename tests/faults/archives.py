"""Hostile archives of teachers, and servers that break, change, lie or never end."""

import random
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.io import download
from lskd_cli.models import create_model
from lskd_cli.teachers.catalogue import CATALOGUE
from lskd_cli.teachers.cifar import fetch
from tests.engine.helpers import silent
from tests.faults.outcome import Outcome, ends_well
from tests.malicious_files import Evil
from tests.servers import FileServer, serving
from tests.teacher_archives import header_of_huge_member, make_archive, pickled

_NAME = "resnet56"
_MEMBER = CATALOGUE[_NAME].member
_ARCHIVES, _PICKLES, _SERVERS = 60, 40, 40


def run(root: Path) -> list[Outcome]:
    """Fetch a teacher from mutated archives and bad servers, then from a good one."""
    good = good_archive()
    return [_archives(root / "archives", good), _servers(root / "servers", good)]


def good_archive() -> bytes:
    """An archive with an untrained teacher."""
    torch.manual_seed(0)
    return _archive(pickled({"model": create_model(_NAME).state_dict()}))


def _archive(content: bytes, name: str = _MEMBER) -> bytes:
    return make_archive({name: content})


def _special_archives(proof: Path) -> list[bytes]:
    """Links, devices, huge members, members outside, code in pickles, and NaN as weights."""
    archives = [_archive(pickled({"model": {}, "x": Evil(proof)}))]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, b"3", b"4"):
        info = tarfile.TarInfo(_MEMBER)
        info.type, info.linkname = kind, "/etc/passwd"
        archives.append(info.tobuf() + bytes(1024))
    archives += [header_of_huge_member(_MEMBER, size) for size in (1 << 31, 1 << 33)]
    archives += [_archive(b"x", name) for name in ("../../outside", "/outside", "a/../../outside")]
    for value in (float("nan"), float("inf")):
        weights = {n: torch.full_like(t, value) for n, t in create_model(_NAME).state_dict().items()
                   if t.is_floating_point()}  # fmt: skip
        archives.append(_archive(pickled(create_model(_NAME).state_dict() | weights)))
    return archives


def _mutated(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    start = chance.randrange(len(content))
    if chance.random() < 0.3:
        del changed[start:]
    elif chance.random() < 0.5:
        changed[start] ^= 1 << chance.randrange(8)
    else:
        start = chance.randrange(2000)  # headers
        changed[start : start + 40] = chance.randbytes(40)
    return bytes(changed)


def _archives(root: Path, good: bytes) -> Outcome:
    outcome = Outcome(
        "a mutated or malicious archive of teachers",
        "refused or the right weights; no code runs, nothing stays, a good one works afterwards",
    )
    chance = random.Random(0)
    proof = root / "proof"
    teacher = good[512 : 512 + len(pickled({"model": create_model(_NAME).state_dict()}))]
    bad = [_mutated(good, chance) for _ in range(_ARCHIVES)]
    bad += [_archive(_mutated(teacher, chance)) for _ in range(_PICKLES)]
    bad += _special_archives(proof)
    with serving({"good": good}) as server:
        for index, content in enumerate(bad):
            server.files["bad"] = content
            folder = root / str(index)
            problem = ends_well(partial(_fetch, server.url("bad"), folder))
            is_right = problem is None and not proof.exists() and _is_clean(folder)
            is_right &= _fetches(server.url("good"), folder)
            outcome.check(f"archive {index}: {problem}", is_right)
    return outcome


def _fetch(url: str, folder: Path) -> None:
    fetch([_NAME], folder, url, None, silent)
    load_checkpoint(folder / f"{_NAME}.safetensors").load_network(_NAME, 100)


def _fetches(url: str, folder: Path) -> bool:
    return ends_well(lambda: _fetch(url, folder)) is None and _is_clean(folder)


def _is_clean(folder: Path) -> bool:
    """Whether the folder contains nothing but the teacher."""
    files = {path.name for path in folder.glob("*")}
    return files <= {f"{_NAME}.safetensors"}


def _servers(root: Path, good: bytes) -> Outcome:
    outcome = Outcome(
        "a server that breaks, changes, lies or does not end",
        "one line or the right weights; the next attempt works",
    )
    other = good[:-2000] + bytes(2000)
    limit = download._MAX_SIZE

    def changed(server: FileServer) -> None:
        server.files["t"], server.etag = other, '"2"'

    behaviours: list[Callable[[FileServer], None]] = [
        lambda server: None,
        changed,
        lambda server: setattr(server, "etag", None),
        lambda server: setattr(server, "resumes", False),
        lambda server: setattr(server, "shift", 5),
        lambda server: setattr(server, "requires_same_version", False),
        lambda server: server.files.pop("t") and None,
        lambda server: setattr(download, "_MAX_SIZE", 100_000),
    ]
    chance = random.Random(0)
    for number in range(_SERVERS):
        folder = root / str(number)
        with serving({"t": good}) as server:
            server.break_after = chance.randrange(len(good))
            problems = [ends_well(partial(_fetch, server.url("t"), folder))]
            behaviours[number % len(behaviours)](server)
            problems.append(ends_well(partial(_fetch, server.url("t"), folder)))
            download._MAX_SIZE = limit
        with serving({"t": good}) as server:
            # The partial file of the bad server may stay: its URL is another one.
            problems.append(ends_well(partial(_fetch, server.url("t"), folder)))
            is_right = problems == [None] * 3 and (folder / f"{_NAME}.safetensors").exists()
        outcome.check(f"server {number}: {problems}", is_right)
    return outcome
