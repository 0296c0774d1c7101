"""Parsing of the elements that are used; runs in the reader process, never in the service."""

import io
from collections.abc import Sequence

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from app.images.dicom.structure import Scanned


def parsed(scanned: Scanned, keywords: Sequence[str]) -> Dataset:
    """Parse only the elements of these keywords: whatever else the file holds is never read.

    Raises:
        KeyError: a keyword is not in the dictionary.
    """
    file = io.BytesIO(scanned.data)  # BytesIO shares bytes and does not copy them.
    file.seek(scanned.start)
    dataset = read_dataset(
        file,
        is_implicit_VR=scanned.implicit,
        is_little_endian=scanned.little,
        bytelength=scanned.length,
        specific_tags=[_tag(keyword) for keyword in keywords],
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(scanned.transfer_syntax)
    return dataset


def _tag(keyword: str) -> BaseTag | int:
    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return number
