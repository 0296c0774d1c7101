"""A DICOM file → whose it is and where it is filed; runs in the reader process, and only where the link is kept."""

import io
import re

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName, validate_value

from app.dicom_scan import read_meta, scan
from app.dicom_wire import Original

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_WORDS = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "accession_number": "AccessionNumber",
    "referring_physician_name": "ReferringPhysicianName",
}
_NAMES_A_PATIENT = ("patient_id", "issuer_of_patient_id")
"""A file whose value of one of these cannot be repeated would be filed under another patient."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def original(data: bytes) -> Original | None:
    """What a report needs to be filed beside that instance; None when the file does not say it validly.

    Raises:
        ImageRejected: the file is not built as DICOM says.
    """
    scanned = scan(data, read_meta(data))
    keywords = ("SpecificCharacterSet", *_UIDS, *_WORDS.values())
    tags: list[BaseTag | int] = [tag_for_keyword(keyword) or 0 for keyword in keywords]
    file = io.BytesIO(scanned.data)
    file.seek(scanned.start)
    dataset = read_dataset(
        file,
        is_implicit_VR=scanned.implicit,
        is_little_endian=scanned.little,
        specific_tags=tags,
    )
    uids = [_valid(dataset, keyword) for keyword in _UIDS]
    if not all(uid and len(uid) <= 64 and _UID.fullmatch(uid) for uid in uids):
        return None
    words = {name: _valid(dataset, keyword) for name, keyword in _WORDS.items()}
    if any(words[name] is None for name in _NAMES_A_PATIENT):
        return None
    study_uid, series_uid, instance_uid = (uid or "" for uid in uids)
    return Original(
        study_uid=study_uid,
        series_uid=series_uid,
        instance_uid=instance_uid,
        **{name: text or "" for name, text in words.items()},
    )


def _valid(dataset: Dataset, keyword: str) -> str | None:
    """That element's text; empty where it is absent, None where it may not be written as it stands."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    if not isinstance(value, str | PersonName):
        return None
    text = str(value).strip(" \0")
    vr = dictionary_VR(keyword)
    try:
        validate_value(vr, text, config.RAISE)
    except ValueError:
        return None
    return text
