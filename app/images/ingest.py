"""Conversion of uploaded bytes into the image to analyse; the content decides the file type."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from app.errors import (
    ImageRejected,
    ImageTooLarge,
    ImageUnreadable,
    ImageUnsupported,
    RequestRejected,
)
from app.images.burned_in.finder import FindText, blacken
from app.images.burned_in.messages import PixelBox
from app.images.colour import colour_of
from app.images.dicom.calibration import Calibrated, calibrate
from app.images.dicom.messages import Header
from app.images.dicom.reader import DicomFile, Frame, is_dicom
from app.images.dicom.sealing import KeyMaker
from app.images.dicom.uids import UidMap
from app.images.png import encode_png
from reports.model import Colour, DicomSource, ImageInfo, PixelAspect
from specialists.errors import (
    PictureRejected,
    PictureTooLarge,
    PictureUnreadable,
    PictureUnsupported,
)
from specialists.image import Image
from specialists.pictures.decode import DECODING_ERRORS, Decoded, decode, luma

_STATED: dict[str | None, Literal["yes", "no"] | None] = {"YES": "yes", "NO": "no", None: None}
_REJECTED: Mapping[type[PictureRejected], type[ImageRejected]] = {
    PictureTooLarge: ImageTooLarge,
    PictureUnsupported: ImageUnsupported,
    PictureUnreadable: ImageUnreadable,
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as it is stored: `png` holds no metadata, `key` identifies the pixels."""

    info: ImageInfo
    png: bytes
    key: str


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """An image as it is analysed (`image`) and as it is stored (`png`, `key`)."""

    image: Image
    png: bytes
    key: str
    frames: tuple[Picture, ...] = ()
    """The frames of a multi-frame file while none is chosen; `image` is the first of them."""
    sealed: bytes | None = None
    """The sealed patient's fields of a DICOM file, where a key was given for them."""
    patient_key: str | None = None
    """The pseudonym of a DICOM file's patient; None where the file names nobody."""

    @property
    def picture(self) -> Picture:
        """The part that is stored."""
        return Picture(info=self.image.info, png=self.png, key=self.key)


def ingest(
    data: bytes,
    limit_pixels: int,
    frame: int | None = None,
    uids: UidMap | None = None,
    find_text: FindText | None = None,
    keys: KeyMaker | None = None,
) -> Ingested:
    """Decode uploaded bytes: upright, 8 bits, without metadata, grey unless colour matters.

    Args:
        data: a PNG, JPEG or DICOM file.
        limit_pixels: most pixels that one frame may have.
        frame: counted from 0; required for a DICOM file of several frames.
        uids: maps the UIDs of a DICOM file; without it they are mapped under a random key that is
            not stored.
        find_text: finds the burned-in text, which is blackened; without it none is looked for.
        keys: seals the patient's fields of a DICOM file; without it they are not read.

    Raises:
        ImageUnsupported: the bytes are neither one PNG or JPEG image nor a DICOM ultrasound image.
        ImageTooLarge: the header states more than `limit_pixels` pixels.
        ImageUnreadable: the file is empty, damaged, too small, or in CMYK.
        RequestRejected: the frame does not exist, or none is chosen where there are several.
        NotReady: the process that reads DICOM, or the one that finds text, does not start.
    """
    if is_dicom(data):
        sha256 = sha256_of(data)
        with DicomFile(data, None if keys is None else keys.file_key(sha256)) as file:
            read = file.frame(limit_pixels, frame or 0)
        if frame is None and read.header.frames > 1:
            count = read.header.frames
            raise RequestRejected(
                f"The file has {count} frames; "
                f"choose one with the field frame, from 0 to {count - 1}."
            )
        shown = masked(read)
        boxes = None if find_text is None else find_text(shown.pixels)
        uids = uids or UidMap.forgotten()
        return of_patient(from_dicom(sha256, shown, uids, boxes), file, uids)
    picture = _decoded(data, limit_pixels)
    if frame:
        raise RequestRejected("The image has one frame; frame is counted from 0.")
    notes, boxes = list(picture.notes), None if find_text is None else find_text(picture.pixels)
    pixels = blacken(picture.pixels, boxes or ())
    colour = Colour.GREY if pixels.ndim == 2 else colour_of(pixels)
    pixels = _greyed(pixels, colour, notes)
    info = ImageInfo(
        sha256=sha256_of(data),
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
        frame=None,
        spacing_mm=None,  # PNG and JPEG densities state a print size, not the tissue's.
        spacing_source=None,
        pixel_aspect=PixelAspect.ASSUMED_SQUARE,
        colour=colour,
        conversions=tuple(notes),
        synthetic=picture.drawn,
        text_blackened=None if boxes is None else len(boxes),
    )
    return _kept(pixels, info)


def of_patient(ingested: Ingested, file: DicomFile, uids: UidMap) -> Ingested:
    """Return the image with what its file, once read, says of the patient: sealed, and hashed."""
    digest = file.patient_sha256
    patient_key = None if digest is None else uids.patient_key(digest)
    return replace(ingested, sealed=file.sealed, patient_key=patient_key)


def _decoded(data: bytes, limit_pixels: int) -> Decoded:
    try:
        return decode(data, limit_pixels)
    except PictureRejected as error:
        raise _REJECTED[type(error)](str(error)) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Masked:
    """A DICOM frame with everything outside its analysed regions set to black."""

    header: Header
    seen: Calibrated
    pixels: npt.NDArray[np.uint8]
    """(H, W) or (H, W, 3); text may still stand in it."""
    masked_px: int


def masked(frame: Frame) -> Masked:
    """Set to black what a DICOM frame shows outside its analysed regions."""
    seen, pixels, masked_px = calibrate(frame.header), frame.pixels, 0
    if seen.kept is not None:
        masked_px = int((~seen.kept).sum())
        kept = seen.kept if pixels.ndim == 2 else seen.kept[..., None]
        pixels = np.where(kept, pixels, np.uint8(0))
    return Masked(header=frame.header, seen=seen, pixels=pixels, masked_px=masked_px)


def from_dicom(
    sha256: str, frame: Masked, uids: UidMap, text_boxes: Sequence[PixelBox] | None = None
) -> Ingested:
    """Convert one masked DICOM frame.

    `text_boxes` are blackened before the image is stored or shown; they are None where no text was
    looked for. `sha256` is the hash of the whole file.
    """
    header, seen = frame.header, frame.seen
    notes = [*header.notes, *seen.notes]
    if frame.masked_px:
        share = frame.masked_px / (header.width_px * header.height_px)
        notes.append(
            f"masked outside the ultrasound regions: {frame.masked_px} pixels, "
            f"{100 * share:.1f} % of the frame"
        )
    pixels = blacken(frame.pixels, text_boxes or ())
    colour = Colour.GREY
    if pixels.ndim == 3:
        colour = Colour.COLOUR if seen.colour else colour_of(_shown(pixels, seen))
    pixels = _greyed(pixels, colour, notes)
    info = ImageInfo(
        sha256=sha256,
        width_px=header.width_px,
        height_px=header.height_px,
        frame=header.frame if header.frames > 1 else None,
        spacing_mm=seen.spacing_mm,
        spacing_source=seen.spacing_source,
        pixel_aspect=seen.pixel_aspect,
        aspect_ratio=seen.aspect_ratio,
        regions=seen.regions,
        colour=colour,
        conversions=tuple(notes),
        spacing_reason=seen.spacing_reason,
        not_analysed=seen.refusal,
        text_blackened=None if text_boxes is None else len(text_boxes),
        dicom=DicomSource(
            sop_class_uid=header.sop_class_uid,
            study_uid=uids.remap(header.study_uid or f"study of {sha256}"),
            series_uid=uids.remap(header.series_uid or f"series of {sha256}"),
            instance_uid=uids.remap(header.instance_uid or f"instance {sha256}"),
            frames=header.frames,
            burned_in=_STATED[header.burned_in],
            masked_px=frame.masked_px,
        ),
    )
    return _kept(pixels, info)


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 that identifies the uploaded bytes."""
    return hashlib.sha256(data).hexdigest()


def load_image(png: bytes, info: ImageInfo) -> Image:
    """Load a stored image, identical to what was analysed at its arrival.

    Raises:
        ImageUnreadable: the stored file is damaged.
    """
    try:
        with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
            return _image(np.asarray(picture, dtype=np.uint8), info)
    except DECODING_ERRORS as error:
        raise ImageUnreadable("The stored picture is damaged.") from error


def _greyed(
    pixels: npt.NDArray[np.uint8], colour: Colour, notes: list[str]
) -> npt.NDArray[np.uint8]:
    """Return the pixels to store, grey unless colour matters; add findings to `notes`."""
    if pixels.ndim == 3 and colour is Colour.GREY:
        alike = (pixels == pixels[..., :1]).all()
        if alike:
            return np.ascontiguousarray(pixels[..., 0])
        notes.append("RGB converted to grey by luma; no colour that carries meaning was found")
        return luma(pixels)
    if colour is Colour.TINTED:
        notes.append("a uniform tint was found; analysed in grey by luma")
    elif colour is Colour.COLOUR:
        notes.append("colour was found; the analysed pixels are grey by luma")
    return pixels


def _shown(pixels: npt.NDArray[np.uint8], seen: Calibrated) -> npt.NDArray[np.uint8]:
    """Return the part of the image that was not masked, so that a large margin hides no colour."""
    if seen.kept is None or not seen.kept.any():
        return pixels
    rows, columns = (np.flatnonzero(seen.kept.any(axis=axis)) for axis in (1, 0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _kept(pixels: npt.NDArray[np.uint8], info: ImageInfo) -> Ingested:
    image = _image(pixels, info)
    key = image.key if pixels.ndim == 2 else _content_key(pixels)  # Grey is stored as analysed.
    return Ingested(image=image, png=encode_png(pixels), key=key)


def _image(pixels: npt.NDArray[np.uint8], info: ImageInfo) -> Image:
    grey = np.ascontiguousarray(luma(pixels))
    return Image(pixels=grey, key=_content_key(grey), info=info)


def _content_key(pixels: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
