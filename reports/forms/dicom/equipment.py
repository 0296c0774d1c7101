"""The device that made a report, and each algorithm that took part, as contributing equipment.

IHE AI Results (RAD TF-3 6.5.3.1) wants each algorithm described there, with the same values as
where the content or a segment identifies it.
"""

from pydicom import Dataset
from pydicom.sr.codedict import codes as standard

from reports.forms.attributes import fitted
from reports.forms.dicom.content import concept
from reports.forms.dicom.image import MANUFACTURER, MODEL_NAME, version_of
from reports.forms.dicom.source import uid_of
from reports.model import Report


def device_uid(name: str, version: str) -> str:
    """Return the UID of a device or an algorithm; that of another version is another one."""
    return uid_of("device", name, version)


def add_equipment(dataset: Dataset, *reports: Report) -> None:
    """Add USTri, its models and the specialists of the evidence to the contributing equipment."""
    devices: dict[str, str] = {}
    for report in reports:
        devices.setdefault(MODEL_NAME, report.provenance.code_version)
        devices |= {model.id: model.sha256 for model in report.provenance.models}
        for item in report.evidence:
            devices.setdefault(item.specialist, version_of(item.specialist, report))
    dataset.ContributingEquipmentSequence = [
        *dataset.get("ContributingEquipmentSequence", []),
        *(_equipment(name, version) for name, version in devices.items()),
    ]


def _equipment(name: str, version: str) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [concept(standard.DCM.ProcessingEquipment)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = fitted(name, "LO")
    item.SoftwareVersions = fitted(version, "LO")
    item.DeviceUID = device_uid(name, version)
    item.ContributionDateTime = ""  # `file_of` writes the report's.
    return item
