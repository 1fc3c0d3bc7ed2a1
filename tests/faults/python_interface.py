"""Hostile arguments of ``distillation_loss`` and ``load_student``."""

import itertools
from pathlib import Path

import torch

from lskd_cli import distillation_loss, load_student
from lskd_cli.config import method_names
from tests.faults.outcome import Outcome

_FINITE = {"plain", "float64", "half", "bf16", "one row", "two classes", "large", "equal"}


def run(root: Path) -> list[Outcome]:
    """Call the public functions with arguments of every wrong kind."""
    return [_losses(), _paths(root)]


def _logits() -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(4, 5, generator=generator)
    return {
        "plain": plain,
        "float64": plain.double(),
        "half": plain.half(),
        "bf16": plain.bfloat16(),
        "integers": plain.long(),
        "booleans": plain > 0,
        "complex": plain.to(torch.complex64),
        "one row": plain[:1],
        "one class": plain[:, :1],
        "two classes": plain[:, :2],
        "no row": plain[:0],
        "no class": plain[:, :0],
        "vector": plain[0],
        "three dimensions": plain[None],
        "large": 2e4 * plain,
        "huge": 1e38 * plain,
        "equal": torch.zeros(4, 5),
        "infinite": torch.full((4, 5), torch.inf),
        "nan": torch.full((4, 5), torch.nan),
        "meta": torch.empty(4, 5, device="meta"),
        "sparse": plain.to_sparse(),
        "list": plain.tolist(),
        "none": None,
    }


def _targets() -> dict[str, object]:
    return {
        "right": torch.tensor([0, 1, 2, 3]),
        "int32": torch.tensor([0, 1, 2, 3], dtype=torch.int32),
        "too large": torch.tensor([0, 1, 2, 9]),
        "negative": torch.tensor([0, 1, 2, -100]),
        "too few": torch.tensor([0, 1]),
        "floats": torch.tensor([0.0, 1.0, 2.0, 3.0]),
        "list": [0, 1, 2, 3],
        "none": None,
    }


def _losses() -> Outcome:
    outcome = Outcome(
        "distillation_loss: arguments of every wrong kind",
        "a loss, finite if the logits are; or ValueError or TypeError",
    )
    logits, targets = _logits(), _targets()
    for method, standardized in itertools.product(method_names(), (False, True)):
        pairs = [(a, b, "right") for a, b in itertools.product(logits, logits)]
        pairs += [("plain", "plain", target) for target in targets]
        for student, teacher, target in pairs:
            case = f"{method} {standardized}: {student}, {teacher}, {target}"
            are_finite = {student, teacher} <= _FINITE
            arguments = (logits[student], logits[teacher], targets[target])
            problem = _problem(method, standardized, are_finite, *arguments)
            outcome.check(f"{case}: {problem}", problem is None)
    return outcome


def _problem(
    method: str,
    standardized: bool,
    are_finite: bool,
    student: object,
    teacher: object,
    target: object,
) -> str | None:
    try:
        loss = distillation_loss(method, student, teacher, target, standardized)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        return None if str(error) and "\n" not in str(error) else "no message of one line"
    except BaseException as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    if loss.ndim or (are_finite and not loss.isfinite()):
        return f"the loss {loss}"
    return None


def _paths(root: Path) -> Outcome:
    outcome = Outcome("load_student: paths of every wrong kind", "ValueError")
    (root / "empty").mkdir()
    (root / "text.safetensors").write_text("no weights")
    (root / "text.onnx").write_text("no network")
    (root / "text.pt2").write_text("no network")
    names = (
        "empty",
        "text.safetensors",
        "text.onnx",
        "text.pt2",
        "missing",
        "a\0b",
        "x" * 5000,
        "",
    )
    for name in names:
        problem: str | None = "nothing is refused"
        try:
            load_student(root / name if name else "")
        except ValueError as error:
            problem = None if str(error) else "no message"
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
        outcome.check(f"{name[:20]!r}: {problem}", problem is None)
    return outcome
