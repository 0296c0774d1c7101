"""DICOM SR, SEG and image (Ultrasound Image or Secondary Capture) of a report."""
