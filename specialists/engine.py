"""Inference with the installed specialists; one backbone pass per image serves all of them."""

import copy
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from reports.model import Box
from specialists.admission.limits import Place, Refusals, places
from specialists.admission.novelty import Novelty
from specialists.admission.quality import Quality, inspected
from specialists.backbones.transunet import Features
from specialists.deadline import Deadline
from specialists.decode import decode
from specialists.errors import Declined, Rejected, Unavailable
from specialists.image import Image
from specialists.letterbox import Letterbox, letterbox, resize
from specialists.manifest import Manifest, ModelEntry, Roi, SpecialistEntry
from specialists.model import Output
from specialists.result import Result
from specialists.runtime.batching import TOGETHER, Batcher
from specialists.runtime.feature_cache import Encoded, FeatureCache, FeatureKey
from specialists.runtime.runner import Runner
from specialists.views import PLAIN, View, merged, views_of

PASS_IMAGES = TOGETHER
"""Most images of one size per pass of `screen`, after which their features are dropped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _BackboneInput:
    """One image for the backbone: (1, 1, S, S) pixels and field."""

    pixels: Tensor
    field: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class _HeadInput:
    """One image for a specialist: its features and the region of interest."""

    encoded: Encoded
    region: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The network output of a specialist for one image, before decoding."""

    entry: SpecialistEntry
    output: Output
    encoded: Encoded

    def result(self) -> Result:
        """Decode the output into image pixels."""
        found = decode(self.entry, self.output, self.encoded.box)
        return _seen(found, self.entry, self.encoded.place, self.encoded.quality)


class Engine:
    """The closed set of specialists, loaded; safe between threads.

    Threads that wait for the same network share its passes, whatever their deadlines.
    """

    def __init__(
        self, manifest: Manifest, runner: Runner, novelties: Mapping[str, Novelty]
    ) -> None:
        self.manifest = manifest
        self.runner = runner
        self.runtime = runner.name
        self.cache = FeatureCache()
        self.backbones: dict[str, Batcher[_BackboneInput, tuple[Features, Place]]] = {
            name: Batcher(partial(self._encode_all, model), PASS_IMAGES)
            for name, model in manifest.models.items()
            if any(entry.model == name for entry in manifest.installed())
        }
        self.heads: dict[str, Batcher[_HeadInput, Output]] = {
            entry.id: Batcher(partial(self._answer_all, entry), PASS_IMAGES)
            for entry in manifest.installed()
        }
        self._deadline = Deadline()
        self._refusals = Refusals(manifest.models, novelties)
        self._beside = ThreadPoolExecutor(thread_name_prefix="beside")
        """Resizes an image during its quality check; Pillow lets other threads run meanwhile."""

    def run(
        self,
        specialist_id: str,
        image: Image,
        roi: Box | None = None,
        tta: bool = False,
    ) -> Result:
        """Return that specialist's result for the image, in image pixels.

        Arguments and errors are those of `answer`.
        """
        return self.answer(specialist_id, image, roi, tta).result()

    def answer(
        self,
        specialist_id: str,
        image: Image,
        roi: Box | None = None,
        tta: bool = False,
    ) -> Answer:
        """Return the raw network output of that specialist for the image.

        Args:
            specialist_id: an id of the manifest.
            image: the analysed frame.
            roi: a region of interest in image pixels, for a specialist that reads one.
            tta: whether to average over the views that the task's geometry policy allows (test-time
                augmentation), each of which takes a pass of its own.

        Raises:
            Rejected: there is no such specialist, or a region is missing, not read by it, or
                outside the image.
            Unavailable: the specialist has no weights here, too many requests wait, or the deadline
                has passed.
            Declined: the image is too narrow for the network, cannot be read, or is unlike all
                training images.
        """
        entry = self._installed_entry(specialist_id)
        _check_roi(entry, roi, image)
        model = self.manifest.models[entry.model]
        encoded = self.encode(image, model)
        self._refusals.check(entry, encoded.place)
        views = views_of(entry.geometry) if tta else (PLAIN,)
        outputs = []
        for view in views:
            seen = encoded if view == PLAIN else self.encode(image, model, view)
            given = _HeadInput(encoded=seen, region=_region(entry, roi, seen))
            outputs.append(self.heads[specialist_id].ask(given, self._deadline))
        output = merged(entry, outputs, views, encoded.box) if tta else outputs[0]
        return Answer(entry=entry, output=output, encoded=encoded)

    def with_deadline(self, deadline: Deadline) -> "Engine":
        """Return the same specialists, which begin no work once `deadline` has passed."""
        limited = copy.copy(self)
        limited._deadline = deadline
        return limited

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """Return that specialist's result for each image, None where it declines.

        Images of one size share passes of at most `PASS_IMAGES` and no features are kept, so that
        memory use does not grow with the number of images.

        Raises:
            Rejected: there is no such specialist, or it needs a region.
            Unavailable: the specialist has no weights here, or the deadline has passed.
        """
        self._deadline.check()
        entry = self._installed_entry(specialist_id)
        for image in images:
            _check_roi(entry, None, image)
        by_size: dict[tuple[float, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault((*image.pixels.shape, image.aspect), []).append(index)
        found: list[Result | None] = [None] * len(images)
        for indices in by_size.values():
            for first in range(0, len(indices), PASS_IMAGES):
                together = indices[first : first + PASS_IMAGES]
                answers = self._pass(entry, [images[index] for index in together])
                for index, answer in zip(together, answers, strict=True):
                    found[index] = answer
        return tuple(found)

    def _pass(self, entry: SpecialistEntry, images: Sequence[Image]) -> list[Result | None]:
        """Run one backbone pass and one specialist pass over images of one size and aspect."""
        model = self.manifest.models[entry.model]
        height_px, width_px = images[0].pixels.shape
        box = letterbox(height_px, width_px, model.input_px, aspect=images[0].aspect)
        seen = [inspected(image.pixels, model.thresholds) for image in images]
        inputs = [network_input(image, box) for image in images]
        pixels = torch.cat([one for one, _ in inputs])
        field = torch.cat([one for _, one in inputs])
        if not field.any():
            return [None] * len(images)
        features, found = self._features(model, pixels, field)
        roi = None if entry.roi is Roi.NONE else torch.zeros_like(field)
        output = self.runner.head(entry.id, features, field, roi)
        return [
            None
            if self._refusals.reason(entry, place) or (quality and quality.refused)
            else _seen(decode(entry, _part(output, index), box), entry, place, quality)
            for index, (place, quality) in enumerate(zip(found, seen, strict=True))
        ]

    def _installed_entry(self, specialist_id: str) -> SpecialistEntry:
        entry = self.manifest.specialist(specialist_id)
        if specialist_id not in self.heads:
            raise Unavailable(
                f"The specialist {specialist_id} is not installed: {entry.not_installed}"
            )
        return entry

    def backbone_sha256(self, model_id: str) -> str | None:
        """Return the SHA-256 of that backbone; None where no installed specialist reads it."""
        return self.manifest.models[model_id].sha256 if model_id in self.backbones else None

    def features(self, image: Image, model_id: str) -> Features:
        """Return the backbone's levels of the image.

        The specialists that analyse the image share this pass.

        Raises:
            Declined: the image is too narrow for the network, or cannot be read.
            Unavailable: too many requests wait.
        """
        return self.encode(image, self.manifest.models[model_id]).features

    def encode(
        self,
        image: Image,
        model: ModelEntry,
        view: View = PLAIN,
    ) -> Encoded:
        """Return the features of a view of the image, from the cache where they are kept.

        Raises:
            Declined: the image is too narrow for the network, or cannot be read.
            Unavailable: too many requests wait, or the deadline has passed.
        """
        key = FeatureKey(
            image=image.key,
            aspect=image.aspect,
            input_px=model.input_px,
            backbone_sha256=str(model.sha256),
            runtime=self.runtime,
            view=view,
        )
        return self.cache.get(key, lambda: self._encode(image, model, view), self._deadline)

    def _encode(self, image: Image, model: ModelEntry, view: View) -> Encoded:
        height_px, width_px = image.pixels.shape
        box = letterbox(height_px, width_px, model.input_px, view.zoom, image.aspect)
        field = box_mask(box.field(), box.input_px)
        if not field.numpy().any():
            raise Declined("the image is too narrow: at the network's size no pixel of it is left")
        shrinking = self._beside.submit(_network_pixels, image, box, field)
        quality = None
        if view == PLAIN:  # quality is assessed once per image, not per view
            quality = inspected(image.pixels, model.thresholds, self._beside)
        if quality is not None:
            quality.check()
        pixels, field = view.mirrored(shrinking.result()), view.mirrored(field)
        given = _BackboneInput(pixels=pixels, field=field)
        features, place = self.backbones[model.id].ask(given, self._deadline)
        return Encoded(
            features=features, field=field, box=box, place=place, view=view, quality=quality
        )

    def _encode_all(
        self, model: ModelEntry, inputs: Sequence[_BackboneInput]
    ) -> list[tuple[Features, Place]]:
        """Compute the features and place of each image in one backbone pass over all of them."""
        pixels = _joined([one.pixels for one in inputs])
        features, found = self._features(model, pixels, _joined([one.field for one in inputs]))
        if len(inputs) == 1:
            return [(features, found[0])]
        return [  # copies: a slice in the cache would keep the whole batch in memory
            ({name: level[index : index + 1].clone() for name, level in features.items()}, place)
            for index, place in enumerate(found)
        ]

    def _answer_all(self, entry: SpecialistEntry, inputs: Sequence[_HeadInput]) -> list[Output]:
        """Compute the specialist's output for each image in one pass over all of them."""
        features = {
            level: _joined([one.encoded.features[level] for one in inputs])
            for level in entry.features
        }
        field = _joined([one.encoded.field for one in inputs])
        regions = [one.region for one in inputs if one.region is not None]
        output = self.runner.head(entry.id, features, field, _joined(regions) if regions else None)
        if len(inputs) == 1:
            return [output]
        return [_part(output, index) for index in range(len(inputs))]

    def _features(
        self, model: ModelEntry, pixels: Tensor, field: Tensor
    ) -> tuple[Features, list[Place]]:
        """Compute the backbone's features of (B, 1, S, S) pixels, and each image's place."""
        normal = np.subtract(pixels.numpy(), np.float32(model.mean))
        normal /= np.float32(model.std)
        features = self.runner.backbone(model.id, torch.from_numpy(normal))
        distances = self.runner.distance(model.id, features, field)
        return features, places(distances, model, len(pixels))


def _seen(result: Result, entry: SpecialistEntry, place: Place, quality: Quality | None) -> Result:
    """Return the result with what is known of the image: novelty, exam distances and quality."""
    return result.model_copy(
        update={
            "novelty": place.novelty,
            "exam_distances": place.of(entry.exams),
            "quality": None if quality is None else quality.warnings,
        }
    )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate several parts into one batch."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _part(output: Output, index: int) -> Output:
    """Return the output of one image of a batch, as a batch of one."""
    if isinstance(output, Tensor):
        return output[index : index + 1]
    first, second, third = (part[index : index + 1] for part in output)
    return first, second, third


def network_input(image: Image, box: Letterbox) -> tuple[Tensor, Tensor]:
    """Return pixels (1, 1, S, S) in [0, 1] and the field (1, 1, S, S) that they fill."""
    field = box_mask(box.field(), box.input_px)
    return _network_pixels(image, box, field), field


def _network_pixels(image: Image, box: Letterbox, field: Tensor) -> Tensor:
    pixels = np.divide(resize(image.pixels, box), np.float32(255))[None, None]
    return torch.from_numpy(np.multiply(pixels, field.numpy(), out=pixels))


def box_mask(corners: Box, side_px: int) -> Tensor:
    """Return (1, 1, S, S) float32, 1 at network pixels whose centre lies in the box."""
    x_min, y_min, x_max, y_max = (max(math.ceil(corner - 0.5), 0) for corner in corners)
    mask = np.zeros((1, 1, side_px, side_px), np.float32)
    mask[:, :, y_min:y_max, x_min:x_max] = 1
    return torch.from_numpy(mask)


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
    """Return (1, 1, S, S), 1 inside the region (at least one image pixel); all 0 without one."""
    if entry.roi is Roi.NONE:
        return None
    field, box = encoded.view.mirrored(encoded.field), encoded.box
    if roi is None:
        return torch.zeros_like(field)
    (x_min, y_min), (x_max, y_max) = box.to_network(np.array(roi).reshape(2, 2)).tolist()
    region = box_mask((x_min, y_min, x_max, y_max), box.input_px)
    inside = region.numpy()
    inside *= field.numpy()
    if not inside.any():
        rows, columns = field[0, 0].nonzero(as_tuple=True)
        away_x, away_y = columns + 0.5 - (x_min + x_max) / 2, rows + 0.5 - (y_min + y_max) / 2
        nearest = (away_x.square() + away_y.square()).argmin()
        region[0, 0, rows[nearest], columns[nearest]] = 1
    return encoded.view.mirrored(region)
