"""A pickle that runs a command when it is loaded without care."""

import os
from pathlib import Path


class Evil:
    """Its unpickling would create the file ``proof``."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.proof}",))
