"""Names of the networks of other libraries, without importing these."""

LIBRARIES = ("torchvision", "timm")


def split_external(model: str) -> tuple[str, str]:
    """Library and name of ``torchvision/NAME`` or ``timm/NAME``; no library for other names."""
    library, _, name = model.partition("/")
    return (library, name) if library in LIBRARIES and name else ("", model)
