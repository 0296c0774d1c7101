"""Conversion of uploads into pixels for specialists: still images, DICOM, multi-frame files."""
