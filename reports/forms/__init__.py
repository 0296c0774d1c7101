"""Forms of a report: HTML, text, PDF, DICOM, FHIR and images of its evidence."""
