"""Matplotlib figures as SVG inside a page: themed by its CSS, allowed by its policy.

The page's policy forbids inline styles, and matplotlib writes all of its styles that way. Each
becomes an attribute here, and each colour of the palette a CSS variable, so that the page's theme
decides.
"""

import io
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = {
    "ink": "#17212b",
    "soft": "#5a6875",
    "line": "#dfe4ea",
    "c0": "#0b6470",
    "c1": "#c2410c",
    "c2": "#6d28d9",
    "c3": "#15803d",
    "c4": "#be185d",
    "c5": "#8a5a00",
}
"""The light theme's colours by the names of their CSS variables; c0 to c5 are those of data."""

SIZE_IN = (4.6, 3.6)
"""As wide as a phone's screen, so that text on it is hardly smaller than it is drawn."""

STYLES: dict[str, dict[str, Any]] = {
    "band": {"color": PALETTE["c1"], "alpha": 0.13, "linewidth": 0},
    "bias": {"color": PALETTE["c1"]},
    "bin": {"color": PALETTE["c1"], "s": 30, "linewidths": 0, "zorder": 3},
    "dot": {"color": PALETTE["c0"], "s": 14, "linewidths": 0, "alpha": 0.55},
    "guide": {"color": PALETTE["soft"], "linestyle": (0, (4, 3)), "linewidth": 1.2},
    "limit": {"color": PALETTE["c1"], "linestyle": (0, (5, 2))},
    "rug": {"color": PALETTE["c0"], "marker": "|", "s": 40, "linewidths": 0.8, "alpha": 0.5},
    "whisker": {"color": PALETTE["c1"]},
    **{f"curve-{n}": {"color": PALETTE[f"c{n}"]} for n in range(6)},
}
"""What an artist looks like, by the class that it has on the page."""

_HREF = "{http://www.w3.org/1999/xlink}href"
_VARIABLES = {colour: f"var(--{name})" for name, colour in PALETTE.items()}
_RULES: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": PALETTE["soft"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": PALETTE["soft"],
    "axes.titlecolor": PALETTE["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.color": PALETTE["line"],
    "legend.frameon": False,
    "legend.labelcolor": PALETTE["ink"],
    "svg.fonttype": "none",
    "xtick.color": PALETTE["soft"],
    "ytick.color": PALETTE["soft"],
}


class Drawing:
    """One pair of axes; what is drawn with a style of `STYLES` has it as its class on the page."""

    def __init__(self, title: str, x_label: str, y_label: str, images: int) -> None:
        self._name = f"{title}, {images} images"
        self._titles: dict[str, list[str]] = {}
        with mpl.rc_context(_RULES):
            self._figure = Figure(figsize=SIZE_IN)
            self.axes: Axes = self._figure.add_subplot()
            self.axes.set_title(title)
            self.axes.set_xlabel(f"{x_label} (n = {images})")
            self.axes.set_ylabel(y_label)

    def dots(
        self, x: npt.ArrayLike, y: npt.ArrayLike, titles: list[str], style: str = "dot"
    ) -> None:
        """Draw marks, each with its hover text."""
        self.axes.scatter(x, y, gid=style, **STYLES[style])
        self._titles[style] = titles

    def line(
        self, x: npt.ArrayLike, y: npt.ArrayLike, style: str, label: str | None = None
    ) -> None:
        """Draw a line; one that has a label is in the legend."""
        self.axes.plot(x, y, gid=style, label=label, **STYLES[style])

    def across(self, y: float, style: str) -> None:
        """Draw a line from one side of the axes to the other."""
        self.axes.axhline(y, gid=style, **STYLES[style])

    def band(self, low: float, high: float) -> None:
        """Shade what lies between two heights."""
        self.axes.axhspan(low, high, gid="band", **STYLES["band"])

    def svg(self, salt: str) -> Markup:
        """Return the drawing as an element of a page; `salt` keeps its ids apart from others'."""
        if self.axes.get_legend_handles_labels()[1]:
            with mpl.rc_context(_RULES):
                self.axes.legend()
        written = io.StringIO()
        with mpl.rc_context({**_RULES, "svg.hashsalt": salt}):
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            self._figure.savefig(written, format="svg", metadata=nothing)
        root = ElementTree.fromstring(written.getvalue())
        root.remove(root[0])  # a style sheet, which would hold for the whole page
        for element in root.iter():
            _fit_the_page(element)
        for style, titles in self._titles.items():
            marks = root.findall(f".//g[@class='{style}']/g/use")
            for mark, title in zip(marks, titles, strict=True):
                ElementTree.SubElement(mark, "title").text = title
        root.attrib = {"class": "plot", "role": "img", "viewBox": root.attrib["viewBox"]}
        name = ElementTree.Element("title")
        name.text = self._name
        root.insert(0, name)
        return Markup(ElementTree.tostring(root, encoding="unicode"))


def _fit_the_page(element: ElementTree.Element) -> None:
    """Write an element's style as attributes, its colours as variables, and its name as a class."""
    element.tag = element.tag.rpartition("}")[2]
    for rule in filter(None, element.attrib.pop("style", "").split(";")):
        name, _, value = (part.strip() for part in rule.partition(":"))
        if name != "font-family":  # the page's
            element.set(name, _VARIABLES.get(value, value))
    if _HREF in element.attrib:
        element.set("href", element.attrib.pop(_HREF))
    if element.tag == "g" and (name := element.attrib.pop("id", "")) in STYLES:
        element.set("class", name)
