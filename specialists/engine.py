"""Runs any installed specialist on an image; the backbone runs once per image, however many ask."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from reports.model import Box
from specialists.backbones.transunet import Features
from specialists.batching import TOGETHER, Batcher, Patience
from specialists.decode import decode
from specialists.errors import Declined, Rejected, Unavailable
from specialists.features import Encoded, FeatureCache, FeatureKey
from specialists.gate import Place, Refusals, places
from specialists.image import Image
from specialists.letterbox import Letterbox, letterbox, resize
from specialists.manifest import Manifest, ModelEntry, Roi, SpecialistEntry
from specialists.model import Output
from specialists.novelty import Novelty
from specialists.quality import Quality, inspected
from specialists.result import Result
from specialists.runtime import Runner
from specialists.views import PLAIN, View, merged, views_of

PASS_IMAGES = TOGETHER
"""Images of one size that one backbone pass takes when several are screened; their features are then dropped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Input:
    """One image for the backbone: (1, 1, S, S) pixels and field."""

    pixels: Tensor
    field: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class _Question:
    """One image for a specialist."""

    encoded: Encoded
    region: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a specialist's networks gave for one image, before it is decoded."""

    entry: SpecialistEntry
    output: Output
    encoded: Encoded

    def result(self) -> Result:
        """The answer in image pixels."""
        found = decode(self.entry, self.output, self.encoded.box)
        return _seen(found, self.entry, self.encoded.place, self.encoded.quality)


class Engine:
    """The closed tool set, loaded; safe between threads, which share passes where they wait for the same network."""

    def __init__(
        self, manifest: Manifest, runner: Runner, novelties: Mapping[str, Novelty]
    ) -> None:
        self.manifest = manifest
        self.runner = runner
        self.runtime = runner.name
        self.cache = FeatureCache()
        self.backbones: dict[str, Batcher[_Input, tuple[Features, Place]]] = {
            name: Batcher(partial(self._encode_all, model), PASS_IMAGES)
            for name, model in manifest.models.items()
            if any(entry.model == name for entry in manifest.installed())
        }
        self.heads: dict[str, Batcher[_Question, Output]] = {
            entry.id: Batcher(partial(self._ask_all, entry), PASS_IMAGES)
            for entry in manifest.installed()
        }
        self._refusals = Refusals(manifest.models, novelties)
        self._beside = ThreadPoolExecutor(thread_name_prefix="beside")
        """Shrinks an image while its quality is judged: Pillow lets other threads of Python run meanwhile."""

    def run(
        self,
        specialist_id: str,
        image: Image,
        roi: Box | None = None,
        patience: Patience | None = None,
        tta: bool = False,
    ) -> Result:
        """What that specialist answers for the image, in image pixels; all else is as of `answer`."""
        return self.answer(specialist_id, image, roi, patience, tta).result()

    def answer(
        self,
        specialist_id: str,
        image: Image,
        roi: Box | None = None,
        patience: Patience | None = None,
        tta: bool = False,
    ) -> Answer:
        """What that specialist's networks give for the image.

        Args:
            specialist_id: an id of the manifest.
            image: the analysed frame.
            roi: a region of interest in image pixels, for a specialist that reads one.
            patience: how long the answer is wanted; nothing is begun for it afterwards.
            tta: whether to average over the views that the task's geometry allows (test-time
                augmentation), each of which takes a pass of its own.

        Raises:
            Rejected: no such specialist, or a region that it does not read, needs, or lies outside.
            Unavailable: the specialist has no weights here, too many questions wait, or `patience` ended.
            Declined: the image is too narrow for the network, cannot be read, or is unlike all training images.
        """
        entry = self._installed(specialist_id)
        _check_roi(entry, roi, image)
        model = self.manifest.models[entry.model]
        encoded = self.encode(image, model, patience)
        self._refusals.check(entry, encoded.place)
        views = views_of(entry.geometry) if tta else (PLAIN,)
        outputs = []
        for view in views:
            seen = encoded if view == PLAIN else self.encode(image, model, patience, view)
            question = _Question(encoded=seen, region=_region(entry, roi, seen))
            outputs.append(self.heads[specialist_id].ask(question, patience))
        output = merged(entry, outputs, views, encoded.box) if tta else outputs[0]
        return Answer(entry=entry, output=output, encoded=encoded)

    def within(self, patience: Patience) -> "Hurried":
        """The same specialists, which begin nothing once `patience` ended."""
        return Hurried(self, patience)

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """What that specialist answers for each image, None where it declines; no features are kept.

        Images of one size share passes of at most `PASS_IMAGES`, so that any number takes the same memory.

        Raises:
            Rejected: no such specialist, or one that needs a region.
            Unavailable: the specialist has no weights here.
        """
        entry = self._installed(specialist_id)
        for image in images:
            _check_roi(entry, None, image)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(image.pixels.shape, []).append(index)
        found: list[Result | None] = [None] * len(images)
        for indices in by_size.values():
            for first in range(0, len(indices), PASS_IMAGES):
                together = indices[first : first + PASS_IMAGES]
                answers = self._pass(entry, [images[index] for index in together])
                for index, answer in zip(together, answers, strict=True):
                    found[index] = answer
        return tuple(found)

    def _pass(self, entry: SpecialistEntry, images: Sequence[Image]) -> list[Result | None]:
        """One backbone pass and one of the specialist over images of one size."""
        model = self.manifest.models[entry.model]
        height_px, width_px = images[0].pixels.shape
        box = letterbox(height_px, width_px, model.input_px)
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

    def _installed(self, specialist_id: str) -> SpecialistEntry:
        entry = self.manifest.specialist(specialist_id)
        if specialist_id not in self.heads:
            raise Unavailable(
                f"The specialist {specialist_id} is not installed: {entry.not_installed}"
            )
        return entry

    def backbone_sha256(self, model_id: str) -> str | None:
        """The content of that backbone, where one of the installed specialists reads it."""
        return self.manifest.models[model_id].sha256 if model_id in self.backbones else None

    def features(self, image: Image, model_id: str) -> Features:
        """The backbone's levels of the image; the specialists of its analysis then share this pass.

        Raises:
            Declined: the image is too narrow for the network.
            Unavailable: too many questions wait.
        """
        return self.encode(image, self.manifest.models[model_id]).features

    def encode(
        self,
        image: Image,
        model: ModelEntry,
        patience: Patience | None = None,
        view: View = PLAIN,
    ) -> Encoded:
        """The features of a view of the image, from the cache where they are kept.

        Raises:
            Declined: the image is too narrow for the network.
            Unavailable: too many questions wait, or `patience` ended.
        """
        key = FeatureKey(
            image=image.key,
            input_px=model.input_px,
            backbone_sha256=str(model.sha256),
            runtime=self.runtime,
            view=view,
        )
        return self.cache.get(key, lambda: self._encode(image, model, patience, view), patience)

    def _encode(
        self, image: Image, model: ModelEntry, patience: Patience | None, view: View
    ) -> Encoded:
        height_px, width_px = image.pixels.shape
        box = letterbox(height_px, width_px, model.input_px, view.zoom)
        field = box_mask(box.field(), box.input_px)
        if not field.numpy().any():
            raise Declined("the image is too narrow: at the network's size no pixel of it is left")
        shrinking = self._beside.submit(_network_pixels, image, box, field)
        quality = None
        if view == PLAIN:  # the picture is judged once, not each view of it
            quality = inspected(image.pixels, model.thresholds, self._beside)
        if quality is not None:
            quality.check()
        pixels, field = view.mirrored(shrinking.result()), view.mirrored(field)
        features, place = self.backbones[model.id].ask(_Input(pixels=pixels, field=field), patience)
        return Encoded(
            features=features, field=field, box=box, place=place, view=view, quality=quality
        )

    def _encode_all(
        self, model: ModelEntry, inputs: Sequence[_Input]
    ) -> list[tuple[Features, Place]]:
        """Features and place of each image, after one pass of all of them."""
        pixels = _joined([one.pixels for one in inputs])
        features, found = self._features(model, pixels, _joined([one.field for one in inputs]))
        if len(inputs) == 1:
            return [(features, found[0])]
        return [  # copies, or one image in the cache would keep all of its batch
            ({name: level[index : index + 1].clone() for name, level in features.items()}, place)
            for index, place in enumerate(found)
        ]

    def _ask_all(self, entry: SpecialistEntry, questions: Sequence[_Question]) -> list[Output]:
        """The specialist's output for each image, after one pass of all of them."""
        features = {
            level: _joined([one.encoded.features[level] for one in questions])
            for level in entry.features
        }
        field = _joined([one.encoded.field for one in questions])
        regions = [one.region for one in questions if one.region is not None]
        output = self.runner.head(entry.id, features, field, _joined(regions) if regions else None)
        if len(questions) == 1:
            return [output]
        return [_part(output, index) for index in range(len(questions))]

    def _features(
        self, model: ModelEntry, pixels: Tensor, field: Tensor
    ) -> tuple[Features, list[Place]]:
        """The backbone's features of (B, 1, S, S) pixels, and each image's place."""
        normal = np.subtract(pixels.numpy(), np.float32(model.mean))
        normal /= np.float32(model.std)
        features = self.runner.backbone(model.id, torch.from_numpy(normal))
        distances = self.runner.distance(model.id, features, field)
        return features, places(distances, model, len(pixels))


class Hurried:
    """An engine's specialists for one asker, whose patience may end."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self._engine = engine
        self._patience = patience
        self.manifest = engine.manifest
        self.runtime = engine.runtime

    def run(
        self, specialist_id: str, image: Image, roi: Box | None = None, tta: bool = False
    ) -> Result:
        """As `Engine.run`."""
        return self._engine.run(specialist_id, image, roi, self._patience, tta)

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """As `Engine.screen`.

        Raises:
            Unavailable: the patience ended before it began.
        """
        self._patience.check()
        return self._engine.screen(specialist_id, images)


def _seen(result: Result, entry: SpecialistEntry, place: Place, quality: Quality | None) -> Result:
    """The result with what is known of the image."""
    return result.model_copy(
        update={
            "novelty": place.novelty,
            "exam_distances": place.of(entry.exams),
            "quality": None if quality is None else quality.warnings,
        }
    )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One batch of several."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _part(output: Output, index: int) -> Output:
    """The output of one image of a batch, still a batch."""
    if isinstance(output, Tensor):
        return output[index : index + 1]
    first, second, third = (part[index : index + 1] for part in output)
    return first, second, third


def network_input(image: Image, box: Letterbox) -> tuple[Tensor, Tensor]:
    """Pixels (1, 1, S, S) in [0, 1] and the field (1, 1, S, S) that they fill."""
    field = box_mask(box.field(), box.input_px)
    return _network_pixels(image, box, field), field


def _network_pixels(image: Image, box: Letterbox, field: Tensor) -> Tensor:
    pixels = np.divide(resize(image.pixels, box), np.float32(255))[None, None]
    return torch.from_numpy(np.multiply(pixels, field.numpy(), out=pixels))


def box_mask(corners: Box, side_px: int) -> Tensor:
    """(1, 1, S, S) float32, 1 at network pixels whose centre lies in the box."""
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
    """(1, 1, S, S), 1 inside the region; all 0 without one; at least one pixel of the image with one."""
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
