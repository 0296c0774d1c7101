"""Patient and study attributes of a DICOM file.

Runs in the reader process. Where the deployment keeps the link to the original, the attributes are
sealed here; every deployment gets a digest of the patient's id, which finds studies of one patient.
"""

import hashlib
import re

from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName, validate_value

from app.images.dicom.elements import parsed
from app.images.dicom.structure import Scanned
from reports.forms.attributes import fitted
from reports.forms.dicom.identity import PATIENT_AND_STUDY, InstanceIdentity

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_NAMES_A_PATIENT = ("patient_id", "issuer_of_patient_id")
"""Without an exact copy of these, the report would be filed under another patient."""

_EXACT = frozenset(["PatientID", "IssuerOfPatientID", "StudyID", "AccessionNumber"])
"""What is copied whole or not at all: cut to the bytes of an attribute, it would name another."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


_NO_IDS = frozenset(
    {"anon", "anonym", "anonymised", "anonymized", "anonymous", "deidentified", "demo", "n/a", "na"}
    | {"nil", "none", "null", "patient", "phantom", "removed", "test", "unknown", "unnamed"}
)
"""Values of PatientID that name nobody, in small letters; files of many patients have them."""


def patient_sha256(scanned: Scanned) -> str | None:
    """Return the SHA-256 of the patient's id and its issuer, in hexadecimal digits.

    It is None where the file states no id, one that is not valid, or one that names nobody.
    """
    dataset = parsed(scanned, ("SpecificCharacterSet", "PatientID", "IssuerOfPatientID"))
    patient, issuer = _valid(dataset, "PatientID"), _valid(dataset, "IssuerOfPatientID")
    if not patient or issuer is None or patient.lower() in _NO_IDS or len(set(patient)) == 1:
        return None
    return hashlib.sha256(f"{issuer}\0{patient}".encode()).hexdigest()


def original(scanned: Scanned) -> InstanceIdentity | None:
    """Return what a report needs to be filed beside this instance; None if the file lacks it.

    It is also None where values are not valid and cannot be repeated.
    """
    keywords = ("SpecificCharacterSet", *_UIDS, *PATIENT_AND_STUDY.values())
    dataset = parsed(scanned, keywords)
    uids = [_valid(dataset, keyword) for keyword in _UIDS]
    if not all(uid and len(uid) <= 64 and _UID.fullmatch(uid) for uid in uids):
        return None
    words = {name: _valid(dataset, keyword) for name, keyword in PATIENT_AND_STUDY.items()}
    if any(words[name] is None for name in _NAMES_A_PATIENT):
        return None
    study_uid, series_uid, instance_uid = (uid or "" for uid in uids)
    return InstanceIdentity(
        study_uid=study_uid,
        series_uid=series_uid,
        instance_uid=instance_uid,
        **{name: text or "" for name, text in words.items()},
    )


def _valid(dataset: Dataset, keyword: str) -> str | None:
    """Return an element's text.

    It is empty where the element is absent, and None where it may not be written as it stands.
    """
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
    return text if fitted(text, vr) == text or keyword not in _EXACT else None
