"""Options of the command line in the form that the engine takes."""

from pathlib import Path

from lskd_cli.cli.run_training import engine_options
from lskd_cli.cli.training_options import TrainingArguments


def test_every_option_reaches_its_place_and_unit() -> None:
    arguments = TrainingArguments(
        data_dir=Path("images"),
        checkpoints_dir=Path("weights"),
        teacher_checkpoint="teacher.pth",
        teacher_cache=True,
        skip_bad_images=True,
        checkpoint_minutes=2.5,
    )
    options = engine_options(arguments, Path("trained"))
    assert (options.data_dir, options.checkpoints_dir, options.runs_dir) == (
        Path("images"),
        Path("weights"),
        Path("trained"),
    )
    assert options.cache_dir == Path("weights/logits")
    assert options.teacher_checkpoint == "teacher.pth"
    assert options.skip_bad_images
    assert options.checkpoint_interval == 150  # seconds
    assert engine_options(TrainingArguments(), Path("trained")).cache_dir is None
