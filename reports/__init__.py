"""The report as data: its measurements, sentences and forms."""
