"""The summary of a study in each of its forms: page, text, PDF, DICOM SR, FHIR and an archive."""
