"""Selection of frames to store from a multi-frame DICOM file of which no frame is chosen yet.

Time and memory are bounded.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import takewhile

from app.errors import FrameUnreadable, ImageUnreadable, RequestRejected
from app.images.burned_in.cine import Boxes, CineText
from app.images.burned_in.finder import FindText
from app.images.dicom.messages import Header
from app.images.dicom.reader import READ_S, DicomFile, Frame, is_dicom
from app.images.dicom.sealing import KeyMaker
from app.images.dicom.uids import UidMap
from app.images.ingest import (
    Ingested,
    Masked,
    Picture,
    from_dicom,
    ingest,
    masked,
    of_patient,
    sha256_of,
)
from specialists.deadline import Deadline

FRAMES_MAX = 512
"""Most frames stored of one file; of a longer file, every second, third, … frame is stored."""

PIXELS_MAX = 256 * 2**20
"""Most pixels of these frames together: 340 frames of 1024 × 768.

Of larger frames, fewer are read, so that the work is bounded too.
"""

KEPT_MAX_BYTES = 192 * 2**20
"""Most bytes of these frames together, compressed: 450 grey frames of 1024 × 768."""

READING_S = 8.0
"""Time limit for reading all frames; those that are read by then lie evenly in the file."""

LATER_S = 1.9
"""Time limit for each frame after the first; opening the file makes the first one slower."""

FIRST_MAX = 9
"""Frames that are tried, one after another, until one can be read."""

NAMED_MAX = 12
"""Most numbers of left out frames that are listed."""

_ENCODERS = 2
_WAITING_MAX = 4
"""Most decoded frames that wait to be masked and compressed; this bounds their memory."""


def ingest_frames(
    data: bytes,
    limit_pixels: int,
    uids: UidMap | None = None,
    find_text: FindText | None = None,
    keys: KeyMaker | None = None,
) -> Ingested:
    """Decode uploaded bytes; of a multi-frame file, the first frame with those to choose from.

    Text is found by `find_text` and blackened: once where it stays in place, else in each frame.
    The patient's fields of a DICOM file are sealed where `keys` are given.

    Raises:
        FrameUnreadable: most of its frames are cut short or damaged.
        ImageUnsupported, ImageTooLarge, ImageUnreadable, NotReady: as for
            `app.images.ingest.ingest`.
    """
    if not is_dicom(data):
        return ingest(data, limit_pixels, find_text=find_text)
    sha256, uids = sha256_of(data), uids or UidMap.forgotten()
    with DicomFile(data, None if keys is None else keys.file_key(sha256)) as file:
        ingested = _ingest_frames(_Source(file, limit_pixels), sha256, uids, find_text)
        return of_patient(ingested, file, uids)


@dataclass(frozen=True)
class _Source:
    """A file to read frames of, of at most `limit_pixels` each."""

    file: DicomFile
    limit_pixels: int
    bad: list[int] = field(default_factory=list)
    """The frames that could not be read so far."""

    def first_whole(self, deadline: Deadline) -> Frame:
        """Return frame 0, or the first frame after it that can be read.

        Raises:
            FrameUnreadable: none of the first `FIRST_MAX` frames can be read.
        """
        try:
            return self.file.frame(self.limit_pixels, timeout_s=READ_S)
        except FrameUnreadable:
            for place in range(1, FIRST_MAX):
                self.bad.append(place - 1)
                try:
                    if deadline.remaining_s:
                        return self.file.frame(self.limit_pixels, place, LATER_S)
                except RequestRejected:  # There is no such frame.
                    break
                except ImageUnreadable:
                    continue
            raise

    def whole(self, place: int) -> Frame | None:
        """Return a frame of a cine; None if it is cut short or damaged."""
        try:
            return self.file.frame(self.limit_pixels, place, LATER_S)
        except ImageUnreadable:
            self.bad.append(place)
            return None


def _ingest_frames(
    source: _Source, sha256: str, uids: UidMap, find_text: FindText | None
) -> Ingested:
    deadline, bad = Deadline(READING_S), source.bad
    first = source.first_whole(deadline)
    text = CineText(find_text)
    tissue = masked(first)
    shown = from_dicom(sha256, tissue, uids, text.boxes(tissue.pixels))
    if first.header.frames == 1:
        return shown
    places = (
        place
        for place in takewhile(lambda _: deadline.remaining_s, _places(first.header))
        if place > first.header.frame
    )
    later = (read for place in places if (read := source.whole(place)))
    searched = ((frame, text.boxes(frame.pixels)) for frame in map(masked, later))
    frames = [shown.picture, *_pictures(sha256, searched, uids)]
    if len(bad) > len(frames):
        raise FrameUnreadable(
            f"Of {len(bad) + len(frames)} frames that were read, {len(bad)} are cut short, damaged "
            "or missing; the rest is not analysed alone. Send the whole file."
        )
    frames = [_with_note(picture, bad) for picture in frames]
    frames.sort(key=lambda picture: picture.info.frame or 0)
    info = _with_note(shown.picture, bad).info.model_copy(update={"frame": None})
    return replace(shown, image=replace(shown.image, info=info), frames=tuple(frames))


def _with_note(picture: Picture, bad: list[int]) -> Picture:
    if not bad:
        return picture
    numbers = sorted(bad)
    listed = ", ".join(str(number) for number in numbers[:NAMED_MAX])
    more = f" and {len(numbers) - NAMED_MAX} more" if len(numbers) > NAMED_MAX else ""
    note = (
        f"of {picture.info.dicom.frames if picture.info.dicom else 'the'} frames, {len(numbers)} "
        f"cannot be read whole and {'is' if len(numbers) == 1 else 'are'} left out "
        f"(counted from 0: {listed}{more})"
    )
    conversions = (*picture.info.conversions, note)
    return replace(picture, info=picture.info.model_copy(update={"conversions": conversions}))


def coarse_to_fine(count: int) -> Iterator[int]:
    """Yield 0 to `count` - 1, each once; wherever it stops, the numbers so far lie evenly."""
    step = 1 << max(0, count - 1).bit_length()
    yield 0
    while step > 1:
        step //= 2
        yield from range(step, count, 2 * step)


def _places(header: Header) -> Iterator[int]:
    """Return the frames to read after the first, in reading order, for as long as time allows."""
    frame_px = header.height_px * header.width_px
    every = max(-(-header.frames // FRAMES_MAX), -(-header.frames * frame_px // PIXELS_MAX))
    return (place * every for place in coarse_to_fine(-(-header.frames // every)) if place)


def _pictures(
    sha256: str, frames: Iterator[tuple[Masked, Boxes | None]], uids: UidMap
) -> Iterator[Picture]:
    """Yield each frame as it is stored, until `KEPT_MAX_BYTES` is used up.

    Frames are compressed while the next ones are read.
    """
    waiting: deque[Future[Ingested]] = deque()
    room_bytes = KEPT_MAX_BYTES
    with ThreadPoolExecutor(_ENCODERS, "frames") as pool:
        for frame, boxes in frames:
            waiting.append(pool.submit(from_dicom, sha256, frame, uids, boxes))
            if len(waiting) < _WAITING_MAX:
                continue
            picture = waiting.popleft().result().picture
            room_bytes -= len(picture.png)
            yield picture
            if room_bytes < 0:
                break
        yield from (future.result().picture for future in waiting)
