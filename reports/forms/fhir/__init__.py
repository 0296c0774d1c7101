"""FHIR R4 bundle of a report."""
