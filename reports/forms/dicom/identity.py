"""The instance, patient and study that forms are filed under, as DICOM states them."""

from reports.data import Data


class InstanceIdentity(Data):
    """One instance with its patient and study; a field is empty where nothing is stated.

    This is the only type that holds a patient's fields. Its text form holds none of them, so that
    none reaches a log.
    """

    study_uid: str
    series_uid: str
    instance_uid: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    referring_physician_name: str = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__


PATIENT_AND_STUDY = {
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
"""The DICOM keyword of each field of `InstanceIdentity` but the UIDs."""
