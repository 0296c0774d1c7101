"""The split of a table without one: whole groups, seeded, all classes on both sides if possible."""

from collections import Counter

import numpy as np
import pandas as pd

VAL_SHARE = 0.2
"""Share of the images that a split made here keeps for val."""

SEED = 0
"""Seed of every split made here, so that training and evaluation make the same one."""

PATH = "image_path"


def completed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a `group_id` and a `split` in every row; existing columns are kept.

    Without `group_id` each image is a group of its own. Without `split` about a fifth of the groups
    is `val`, drawn within each class so that rare ones are on both sides; it depends on the rows
    alone, not on their order.
    """
    found = table.copy()
    if "group_id" not in found:
        found["group_id"] = found[PATH].astype(str)
    if "split" not in found:
        held = _held_out(found["group_id"].astype(str).tolist(), _strata(found))
        inside = found["group_id"].astype(str).isin(held)
        found["split"] = np.where(inside, "val", "train")
    return found


def _strata(table: pd.DataFrame) -> list[str]:
    """Return each row's stratum: its class, or whether there is a box."""
    if "mask" in table:
        return [str(value) for value in table["mask"]]
    if "x_min" in table:
        return [str(value) for value in table["x_min"].isna()]
    return [""] * len(table)


def _held_out(groups: list[str], strata: list[str]) -> set[str]:
    """Return the groups of `val`."""
    common = Counter(strata)
    rows = Counter(groups)
    stratum: dict[str, str] = {}
    for group, label in zip(groups, strata, strict=True):
        # a group of several classes counts for its rarest
        stratum[group] = min(
            stratum.get(group, label), label, key=lambda name: (common[name], name)
        )
    rng = np.random.default_rng(SEED)
    held: set[str] = set()
    for label in sorted(common):
        members = sorted(group for group, own in stratum.items() if own == label)
        if len(members) < 2:
            continue
        wanted = VAL_SHARE * sum(rows[group] for group in members)
        taken = 0
        for index in rng.permutation(len(members))[:-1]:
            if taken >= wanted:
                break
            held.add(members[index])
            taken += rows[members[index]]
    return held
