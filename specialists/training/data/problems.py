"""Collected problems in the rows of a CSV, so that the user can correct all of them at once."""

from dataclasses import dataclass, field

from specialists.errors import TrainingError

SHOWN = 20
"""Problems that a message lists; it counts the rest."""


@dataclass(kw_only=True)
class Problems:
    """Sentences about one CSV, each with its line number in an editor."""

    file: str
    found: list[tuple[int, str]] = field(default_factory=list)
    """Line, 0 for the file as a whole, and a sentence on the fault and its remedy."""

    def add(self, line: int, sentence: str) -> None:
        """Add one problem; `line` counts from 1, 0 is the whole file."""
        self.found.append((line, sentence))

    def refuse(self) -> None:
        """Raise if there are any problems.

        Raises:
            TrainingError: there are; the message names the first of them by line.
        """
        if not self.found:
            return
        count = len(self.found)
        ordered = sorted(self.found)[:SHOWN]
        lines = [
            f"{self.file}, line {n}: {text}" if n else f"{self.file}: {text}" for n, text in ordered
        ]
        more = f", the first {SHOWN} of them" if count > SHOWN else ""
        plural = "problem" if count == 1 else "problems"
        head = f"{self.file} cannot be used: {count} {plural}{more}."
        raise TrainingError("\n  ".join([head, *lines]))
