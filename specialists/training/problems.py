"""What is wrong with the rows of a CSV, collected, so that a person mends all of it at once."""

from dataclasses import dataclass, field

from specialists.errors import TrainingError

SHOWN = 20
"""Problems that a message names; it counts the rest."""


@dataclass(kw_only=True)
class Problems:
    """Sentences about one CSV, each with the line that an editor shows it on."""

    file: str
    found: list[tuple[int, str]] = field(default_factory=list)
    """Line, 0 for the file as a whole, and what is wrong and what to do."""

    def add(self, line: int, sentence: str) -> None:
        """Adds one problem; `line` counts from 1, 0 is the whole file."""
        self.found.append((line, sentence))

    def refuse(self) -> None:
        """Returns if there are none.

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
        head = f"{self.file} cannot be trained on: {count} {plural}{more}."
        raise TrainingError("\n  ".join([head, *lines]))
