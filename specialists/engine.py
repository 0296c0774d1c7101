"""Runs any installed specialist on an image; the backbone runs once per image, however many ask."""

import threading
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from reports.model import Box
from specialists.backbones.transunet import Features
from specialists.decode import decode
from specialists.errors import Declined, Rejected, Unavailable
from specialists.features import Encoded, FeatureCache, FeatureKey
from specialists.image import Image
from specialists.letterbox import Letterbox, letterbox, resize
from specialists.manifest import Manifest, ModelEntry, Roi, SpecialistEntry
from specialists.model import Frozen, SpecialistNet
from specialists.novelty import Novelty, describe
from specialists.result import Result


class Engine:
    """The closed tool set, loaded; safe between threads."""

    def __init__(
        self,
        manifest: Manifest,
        backbones: Mapping[str, Frozen],
        nets: Mapping[str, SpecialistNet],
        novelties: Mapping[str, Novelty],
        device: str,
    ) -> None:
        self.manifest = manifest
        self.device = torch.device(device)
        self.runtime = f"torch-{device}-fp32"
        self.cache = FeatureCache()
        self._backbones = {name: net.to(self.device) for name, net in backbones.items()}
        self._nets = {name: net.to(self.device).eval() for name, net in nets.items()}
        self._novelties = dict(novelties)
        self._lock = threading.Lock()

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """What that specialist answers for the image, in image pixels.

        Args:
            specialist_id: an id of the manifest.
            image: the analysed frame.
            roi: a region of interest in image pixels, for a specialist that reads one.

        Raises:
            Rejected: no such specialist, or a region that it does not read, needs, or lies outside.
            Unavailable: the specialist has no weights here.
            Declined: the image is too narrow for the network, or unlike all training images.
        """
        entry = self.manifest.specialist(specialist_id)
        if specialist_id not in self._nets:
            raise Unavailable(
                f"The specialist {specialist_id} is not installed: {entry.not_installed}"
            )
        _check_roi(entry, roi, image)
        encoded = self.encode(image, self.manifest.models[entry.model])
        self._check_novelty(entry.model, encoded)
        region = _region(entry, roi, encoded)
        with self._lock, torch.inference_mode():
            output = self._nets[specialist_id](
                encoded.features, encoded.field, None if region is None else region.to(self.device)
            )
        if isinstance(output, Tensor):
            result = decode(entry, output.cpu(), encoded.box)
        else:
            first, second, third = (part.cpu() for part in output)
            result = decode(entry, (first, second, third), encoded.box)
        return result.model_copy(update={"novelty": encoded.novelty})

    def backbone_sha256(self, model_id: str) -> str | None:
        """The content of that backbone, where one of the installed specialists reads it."""
        return self.manifest.models[model_id].sha256 if model_id in self._backbones else None

    def features(self, image: Image, model_id: str) -> Features:
        """The backbone's levels of the image; the specialists of its analysis then share this pass.

        Raises:
            Declined: the image is too narrow for the network.
        """
        return self.encode(image, self.manifest.models[model_id]).features

    def encode(self, image: Image, model: ModelEntry) -> Encoded:
        """The image's features, from the cache where they are kept."""
        key = FeatureKey(
            image=image.key,
            input_px=model.input_px,
            backbone_sha256=str(model.sha256),
            runtime=self.runtime,
        )
        return self.cache.get(key, lambda: self._encode(image, model))

    def _encode(self, image: Image, model: ModelEntry) -> Encoded:
        height_px, width_px = image.pixels.shape
        box = letterbox(height_px, width_px, model.input_px)
        pixels, field = network_input(image, box)
        if not field.any():
            raise Declined("the image is too narrow: at the network's size no pixel of it is left")
        with torch.inference_mode():
            normalised = (pixels.to(self.device) - model.mean) / model.std
            features = self._backbones[model.id](normalised)
            novelty = self._novelties.get(model.id)
            distance = None
            if novelty is not None:
                on_cpu = {name: level.cpu() for name, level in features.items()}
                distance = round(float(novelty.distance(describe(on_cpu, field))[0]), 4)
        return Encoded(features=features, field=field.to(self.device), box=box, novelty=distance)

    def _check_novelty(self, model_id: str, encoded: Encoded) -> None:
        novelty = self._novelties.get(model_id)
        if novelty is None or encoded.novelty is None or encoded.novelty <= novelty.limit:
            return
        raise Declined(
            "the image is unlike the ultrasound images that the specialists were trained on "
            f"(distance {encoded.novelty:.2f}, limit {novelty.limit:.2f})"
        )


def network_input(image: Image, box: Letterbox) -> tuple[Tensor, Tensor]:
    """Pixels (1, 1, S, S) in [0, 1] and the field (1, 1, S, S) that they fill."""
    pixels = torch.from_numpy(resize(image.pixels, box).copy())[None, None].float() / 255
    field = box_mask(box.field(), box.input_px)
    return pixels * field, field


def box_mask(corners: Box, side_px: int) -> Tensor:
    """(1, 1, S, S) float32, 1 at network pixels whose centre lies in the box."""
    centres = np.arange(side_px) + 0.5
    x_min, y_min, x_max, y_max = corners
    in_x, in_y = (centres >= x_min) & (centres < x_max), (centres >= y_min) & (centres < y_max)
    return torch.from_numpy((in_y[:, None] & in_x[None, :]).astype(np.float32))[None, None]


def _check_roi(entry: SpecialistEntry, roi: Box | None, image: Image) -> None:
    if roi is None:
        if entry.roi is Roi.REQUIRED:
            raise Rejected(f"The specialist {entry.id} needs a region of interest.")
        return
    if entry.roi is Roi.NONE:
        raise Rejected(f"The specialist {entry.id} reads no region of interest.")
    height_px, width_px = image.pixels.shape
    x_min, y_min, x_max, y_max = roi
    if not (0 <= x_min < x_max <= width_px and 0 <= y_min < y_max <= height_px):
        raise Rejected(
            "The region of interest must lie in the image, x_min < x_max, y_min < y_max."
        )


def _region(entry: SpecialistEntry, roi: Box | None, encoded: Encoded) -> Tensor | None:
    """(1, 1, S, S), 1 inside the region; all 0 without one; at least one pixel of the image with one."""
    if entry.roi is Roi.NONE:
        return None
    field, box = encoded.field.cpu(), encoded.box
    if roi is None:
        return torch.zeros_like(field)
    (x_min, y_min), (x_max, y_max) = box.to_network(np.array(roi).reshape(2, 2)).tolist()
    region = box_mask((x_min, y_min, x_max, y_max), box.input_px) * field
    if not region.any():
        rows, columns = field[0, 0].nonzero(as_tuple=True)
        away_x, away_y = columns + 0.5 - (x_min + x_max) / 2, rows + 0.5 - (y_min + y_max) / 2
        nearest = (away_x.square() + away_y.square()).argmin()
        region[0, 0, rows[nearest], columns[nearest]] = 1
    return region
