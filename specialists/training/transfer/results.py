"""The output of a left-out trial: JSON and Markdown in its folder, figures in a manifest."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from specialists.errors import TrainingError
from specialists.manifest import (
    PACKAGE_MANIFEST,
    PACKAGE_WEIGHTS,
    SpecialistEntry,
    Transfer,
    read_manifest,
)
from specialists.training.registry import write_entries
from specialists.training.transfer import requirement
from specialists.training.transfer.left_out import LeftOut, figures, for_card
from specialists.training.transfer.sources import Source
from specialists.training.transfer.trial import Trial, leave_out

SAW = (
    "Decoder and head were trained and calibrated without the source, "
    "and judged on all of it; the backbone has seen it."
)
UNSEEN = "Backbone, decoder and head were trained without the source, and judged on all of it."


@dataclass(frozen=True, kw_only=True)
class Target:
    """The manifest that figures are written into."""

    trial: Trial
    folder: Path | None
    """None means the shipped one."""

    @property
    def path(self) -> Path:
        """Its file."""
        return PACKAGE_MANIFEST if self.folder is None else self.folder / "manifest.toml"

    def held(self) -> list[SpecialistEntry]:
        """Return the manifest's entries of the trial's specialists, if trained on its backbone."""
        manifest = read_manifest(self.folder)
        directory = (self.folder or PACKAGE_WEIGHTS).resolve()
        entries = [manifest.specialists[entry.id] for entry in self.trial.entries]
        return [
            entry
            for entry in entries
            if entry.directory.resolve() == directory
            and (entry.installed or entry.transfer)
            and entry.backbone_sha256 == manifest.models[entry.model].sha256
        ]

    def check(self) -> None:
        """Check that it holds the requested specialists.

        Raises:
            TrainingError: it does not.
        """
        if lacking := sorted(self.trial.asked - {entry.id for entry in self.held()}):
            raise TrainingError(
                f"{self.path} holds no {lacking[0]} trained on its backbone, "
                "whose entry the figures could go into."
            )

    def write(self, found: Sequence[LeftOut]) -> list[str]:
        """Write the figures into it; those of other sources stay.

        Returns:
            A sentence for each specialist that its figures bar from being installed.

        Raises:
            TrainingError: figures are of another backbone, which was trained on the source.
        """
        changed, barred = [], []
        for entry in self.held():
            new = transfers(entry, found)
            if not new:
                continue
            model = read_manifest(self.folder).models[entry.model]
            if self.trial.model.sha256 != model.sha256 and any(item.backbone_saw for item in new):
                raise TrainingError(
                    f"The figures are of another backbone than that of {self.path}, "
                    "and it has seen the source."
                )
            names = {(item.left_out, item.backbone_saw) for item in new}
            kept = [t for t in entry.transfer if (t.left_out, t.backbone_saw) not in names]
            written = entry.model_copy(update={"transfer": (*kept, *new)})
            if self.trial.by is not None and entry.holds_without == self.trial.by:
                written = requirement.judged(written, new)
                if written.not_installed is not None:
                    barred.append(f"{entry.id}: {written.not_installed}")
            changed.append(written)
        write_entries(self.path, [], changed)
        return barred


@dataclass(frozen=True, kw_only=True)
class Done:
    """A trial that was carried out."""

    text: str
    """Its figures as Markdown."""
    barred: list[str]
    """A sentence for each specialist that its figures bar from being installed."""


def carry_out(trial: Trial, sources: Sequence[Source], target: Target | None) -> Done:
    """Run the trial for each of those sources, or for every one, and write the figures.

    Raises:
        TrainingError: the data cannot be used, nothing can be left out, or the target lacks a
            requested specialist.
    """
    if target is not None:
        target.check()
    found: list[LeftOut] = []
    for left in leave_out(trial, sources):
        found.append(left)
        save(trial, found)
    barred = [] if target is None else target.write(found)
    return Done(text=as_markdown(trial, found), barred=barred)


def transfers(entry: SpecialistEntry, found: Sequence[LeftOut]) -> tuple[Transfer, ...]:
    """Return a specialist's figures in the form of a manifest; parts of a column are pooled."""
    if any(left.part is not None for left in found):
        return requirement.pooled(entry, found)
    return tuple(
        left.figure(entry.id, metric)
        for left in found
        if entry.id in left.tasks
        for metric in for_card(figures(entry, left, found))
    )


def as_json(trial: Trial, found: Sequence[LeftOut]) -> str:
    """Return the results as JSON."""
    entries = {entry.id: entry for entry in trial.entries}
    results = [
        {
            "left_out": str(left.source),
            "values": left.values,
            "backbone_saw": left.backbone_saw,
            "note": SAW if left.backbone_saw else UNSEEN,
            "tasks": {
                task: {
                    "rows": result.rows,
                    "missing": result.missing,
                    "note": result.note,
                    "metrics": [
                        metric.model_dump(exclude={"split"})
                        for metric in figures(entries[task], left, found)
                    ],
                    "problems": result.problems,
                }
                for task, result in left.tasks.items()
            },
        }
        for left in found
    ]
    pooled = {
        entry.id: [item.model_dump() for item in items]
        for entry in trial.entries
        if (items := requirement.pooled(entry, found))
    }
    made = found[0].made if found else {}
    return json.dumps({"made": made, "results": results, "pooled": pooled}, indent=1)


def as_markdown(trial: Trial, found: Sequence[LeftOut]) -> str:
    """Return the results as Markdown: a table for each task."""
    saw = sorted({left.backbone_saw for left in found}, reverse=True)
    lines = ["# Sources left out", ""]
    for seen in saw:
        named = ", ".join(str(left.source) for left in found if left.backbone_saw is seen)
        lines.append(f"- {named}: {SAW if seen else UNSEEN}")
    lines += ["", f"{trial.config.steps} steps of the optimiser."]
    for entry in trial.entries:
        rows = [
            left.figure(entry.id, metric)
            for left in found
            if entry.id in left.tasks
            for metric in figures(entry, left, found)
        ]
        rows += requirement.pooled(entry, found)
        if not rows:
            continue
        lines += ["", f"## {entry.id}", "", "| left out | figure | value | 95 % interval | n |"]
        lines.append("|---|---|---|---|---|")
        for item in rows:
            interval = "" if item.low is None else f"{item.low:.3f} to {item.high:.3f}"
            what = item.left_out if item.note is None else f"{item.left_out} ({item.note})"
            lines.append(f"| {what} | {item.name} | {item.value:.3f} | {interval} | {item.n} |")
    return "\n".join(lines) + "\n"


def save(trial: Trial, found: Sequence[LeftOut]) -> None:
    """Write `transfer.json` and `transfer.md` into the trial's folder."""
    trial.out.mkdir(parents=True, exist_ok=True)
    for ending, text in (("json", as_json), ("md", as_markdown)):
        (trial.out / f"transfer.{ending}").write_text(text(trial, found), encoding="utf-8")
