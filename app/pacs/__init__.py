"""Filing of finished reports in a PACS over DICOMweb: outbox, sender, STOW-RS."""
