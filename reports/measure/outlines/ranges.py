"""What is expected of each structure's outline: parts, size, shape and place, by its label.

The ranges follow from the train labels of our data: the 0.5th to the 99.5th percentile, widened on
each side by a quarter of the distance to the median, and rounded outwards. `ustri evaluate
plausibility` prints them again. A range that is wider for a reason has that reason beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Span = tuple[float, float]
"""The lowest and the highest value that is expected."""

ANYWHERE: Span = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is expected of one structure; `None` where nothing is."""

    parts: tuple[int, int]
    """Fewest and most parts."""
    share: Span
    """Of the scanned area, where there are no millimetres or `diameter_mm` is None."""
    diameter_mm: Span | None = None
    """Diameter of the circle of the structure's area."""
    least_solidity: float
    most_holes: float
    most_residual: float | None
    elongation: Span
    x: Span = ANYWHERE
    y: Span = ANYWHERE
    least_gap: float | None = None
    """Gap between two parts ÷ the sum of their radii, below which they may be pieces of one."""


EXPECTED: Mapping[str, Expected] = {
    "lesion": Expected(
        parts=(1, 2),
        share=(0.0025, 0.75),
        least_solidity=0.70,
        most_holes=0.005,
        most_residual=0.27,
        elongation=(1.0, 6.2),
        x=(0.08, 0.92),
        y=(0.06, 0.75),
    ),
    "nodule": Expected(
        parts=(1, 2),
        share=(0.008, 1.0),
        least_solidity=0.78,
        most_holes=0.005,
        most_residual=0.21,
        elongation=(1.0, 3.7),
        x=(0.15, 0.90),
        y=(0.19, 0.66),
    ),
    "ovary or tumour": Expected(
        parts=(1, 2),
        share=(0.005, 0.81),
        least_solidity=0.75,
        most_holes=0.005,
        most_residual=0.25,
        elongation=(1.0, 3.5),
        x=(0.14, 0.84),
        y=(0.13, 0.78),
    ),
    # People drew these heads as ellipses (solidity 0.98, residual 0.007), which no network does:
    # wider, so that 19 of 20 outlines of the shipped specialist on val pass.
    "head": Expected(
        parts=(1, 1),
        share=(0.05, 1.0),
        diameter_mm=(12.0, 144.0),  # circumferences of 40 to 450 mm, as in `reports.measure.head`
        least_solidity=0.96,
        most_holes=0.005,
        most_residual=0.045,
        elongation=(1.04, 1.6),
        x=(0.30, 0.75),
        y=(0.27, 0.83),
    ),
    "pubic symphysis": Expected(
        parts=(1, 1),
        share=(0.014, 0.12),
        least_solidity=0.90,
        most_holes=0.005,
        most_residual=0.13,
        elongation=(1.3, 2.8),
        x=(0.11, 0.62),
        y=(0.07, 0.33),
    ),
    # The labels' own solidity is 0.97; the shipped specialist's is down to 0.95 in 19 of 20.
    "fetal head": Expected(
        parts=(1, 1),
        share=(0.09, 1.0),
        diameter_mm=(12.0, 144.0),
        least_solidity=0.945,
        most_holes=0.005,
        most_residual=0.065,
        elongation=(1.0, 1.7),
        x=(0.14, 0.74),
        y=(0.29, 0.82),
    ),
    # One picture in 16 of the train labels shows three or four nerves. Three parts are flagged
    # nevertheless: no single cross-sectional area can be named then.
    "nerve": Expected(
        parts=(1, 2),
        share=(0.0035, 0.19),
        diameter_mm=(1.0, 22.6),  # 400 mm², as in `reports.measure.nerve`
        least_solidity=0.63,
        most_holes=0.005,
        most_residual=0.35,
        elongation=(1.0, 7.0),
        y=(0.10, 0.87),
        least_gap=0.15,
    ),
    "vessel": Expected(
        parts=(1, 3),
        share=(0.0065, 0.46),
        least_solidity=0.78,
        most_holes=0.005,
        most_residual=0.33,
        elongation=(1.0, 4.4),
        y=(0.10, 1.0),
    ),
    "aponeurosis": Expected(
        parts=(2, 5),
        share=(0.015, 0.16),
        least_solidity=0.41,
        most_holes=0.005,
        most_residual=0.49,
        elongation=(4.0, 61.0),
        x=(0.35, 0.65),
    ),
    # Fragments by the hundred, each a crumb: of their shape nothing is expected.
    "fascicle": Expected(
        parts=(0, 10_000),
        share=(0.0003, 0.02),
        least_solidity=0.0,
        most_holes=1.0,
        most_residual=None,
        elongation=(1.0, 1000.0),
    ),
    # All of these hearts are of one hospital, so that their place is taken more widely.
    "left ventricular cavity": Expected(
        parts=(1, 1),
        share=(0.034, 0.44),
        least_solidity=0.80,
        most_holes=0.005,
        most_residual=0.26,
        elongation=(1.4, 6.3),
        x=(0.30, 0.70),
        y=(0.25, 0.75),
    ),
    "myocardium": Expected(
        parts=(1, 1),
        share=(0.058, 0.44),
        least_solidity=0.28,
        most_holes=0.005,
        most_residual=0.39,
        elongation=(1.0, 4.4),
        x=(0.30, 0.70),
        y=(0.20, 0.70),
    ),
    "left atrium": Expected(
        parts=(1, 1),
        share=(0.018, 0.22),
        least_solidity=0.91,
        most_holes=0.005,
        most_residual=0.17,
        elongation=(1.0, 3.5),
        x=(0.28, 0.84),
        y=(0.50, 1.0),
    ),
}
"""What is expected, by the label of the specialist."""
