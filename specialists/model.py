"""Networks from manifest entries: a backbone by family, a specialist's decoder and head on it."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from specialists.backbones.efficientnet_lite import SCALES, EfficientNetLite
from specialists.backbones.transunet import LEVELS, Features, ResidualTrunk, TransUNet
from specialists.backbones.trunk import Trunk
from specialists.errors import Rejected, WeightsError
from specialists.heads.classify import ClassifyHead
from specialists.heads.detect import DetectHead
from specialists.heads.regress import Ends, RegressHead
from specialists.heads.segment import SegmentHead
from specialists.manifest import Kind, ModelEntry, Roi, SpecialistEntry
from specialists.necks.cascade import Cascade


def build_backbone(entry: ModelEntry, *, scaled: bool = False) -> TransUNet:
    """Return a backbone of the entry's family and sizes, with random weights.

    Args:
        entry: manifest entry that names the family and the sizes.
        scaled: whether the norms of an ImageNet trunk keep their scale separate from the weights,
            as they do during training.

    Raises:
        WeightsError: the manifest entry names an unknown family or encoder, or lacks one of the
            sizes.
    """
    if entry.family != "transunet":
        raise WeightsError(
            f"The manifest entry {entry.id} names no known family: {entry.family!r}."
        )
    config = entry.config
    for name in ("decoder_widths", "vit_width", "layers", "heads", "mlp_ratio"):
        _require(entry, name, list if name == "decoder_widths" else int)
    return TransUNet(
        _build_trunk(entry, scaled=scaled),
        width=cast(int, config["vit_width"]),
        layers=cast(int, config["layers"]),
        heads=cast(int, config["heads"]),
        mlp_ratio=cast(int, config["mlp_ratio"]),
    )


def _build_trunk(entry: ModelEntry, *, scaled: bool) -> Trunk:
    _require(entry, "encoder", str)
    encoder = entry.config["encoder"]
    if encoder in SCALES:
        return EfficientNetLite(str(encoder), scaled=scaled)
    if encoder != "residual":
        raise WeightsError(f"The manifest entry {entry.id} names no known encoder: {encoder!r}.")
    _require(entry, "widths", list)
    _require(entry, "blocks", int)
    widths = cast("list[int]", entry.config["widths"])
    if not 2 <= len(widths) <= len(LEVELS):
        raise WeightsError(f"The manifest entry {entry.id} needs 2 to {len(LEVELS)} config.widths.")
    return ResidualTrunk(widths, cast(int, entry.config["blocks"]))


def _require(entry: ModelEntry, name: str, kind: type) -> None:
    if not isinstance(entry.config.get(name), kind):
        raise WeightsError(f"The manifest entry {entry.id} lacks config.{name}.")


def level_widths(entry: ModelEntry) -> Mapping[str, int]:
    """Return the number of channels of each level of that entry's backbone, finest first.

    Raises:
        WeightsError: as in `build_backbone`.
    """
    with torch.device("meta"):
        return build_backbone(entry).widths


def build_neck(entry: SpecialistEntry, model: ModelEntry, widths: Mapping[str, int]) -> Cascade:
    """Build the decoder for the levels that the entry lists in `features`."""
    decoder = cast("list[int]", model.config["decoder_widths"])[: len(entry.features) - 1]
    return Cascade(widths, entry.features, decoder, roi=entry.roi is not Roi.NONE)


def build_head(
    entry: SpecialistEntry, widths: Mapping[str, int], neck: Cascade | None
) -> SegmentHead | DetectHead | RegressHead | ClassifyHead:
    """Build the head for the entry's kind, on `neck` where the kind needs a decoder."""
    if entry.kind is Kind.CLASSIFY:
        return ClassifyHead(widths, entry.features, len(entry.labels))
    if neck is None:
        raise Rejected(f"The specialist {entry.id} needs a decoder.")
    if entry.kind is Kind.SEGMENT:
        return SegmentHead(neck.width, len(entry.labels))
    if entry.kind is Kind.REGRESS:
        return RegressHead(neck.width, len(entry.landmarks))
    return DetectHead(neck.width)


def line_ends(entry: SpecialistEntry) -> list[Ends]:
    """Return the lines among the entry's landmarks, by landmark index."""
    place = {name: index for index, name in enumerate(entry.landmarks)}
    return [
        Ends(first=place[line.first], second=place[line.second], axis="xy".index(line.along))
        for line in entry.line_ends
    ]


Output = Tensor | tuple[Tensor, Tensor, Tensor]


class SpecialistNet(nn.Module):
    """Decoder and head of one specialist, which read the features of the frozen backbone."""

    def __init__(
        self, entry: SpecialistEntry, model: ModelEntry, widths: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.kind = entry.kind
        self.neck = None if entry.kind is Kind.CLASSIFY else build_neck(entry, model, widths)
        self.head = build_head(entry, widths, self.neck)

    def forward(self, features: Features, field: Tensor, roi: Tensor | None) -> Output:
        """Return the head's raw output.

        Args:
            features: backbone levels.
            field: (B, 1, S, S), 1 where the letterbox holds image.
            roi: (B, 1, S, S), 1 inside each region of interest, all 0 for an image without one.
        """
        if self.neck is None:
            region = field if roi is None else _region_or_field(roi, field)
            return cast(Output, self.head(features, field, region))
        return cast(Output, self.head(self.neck(features, roi)))


def _region_or_field(roi: Tensor, field: Tensor) -> Tensor:
    empty = roi.amax((1, 2, 3), keepdim=True) == 0
    return roi * field + empty * field


class Frozen(nn.Module):
    """A backbone whose weights and batch statistics never change, not even through `.train()`."""

    def __init__(self, backbone: TransUNet) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.widths, self.strides = backbone.widths, backbone.strides

    def train(self, mode: bool = True) -> "Frozen":
        """Return the module itself, still in evaluation mode."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> Features:
        """Compute the feature maps by level; the weights receive no gradients."""
        return cast(Features, self.backbone(x))
