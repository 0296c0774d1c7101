"""Reading of PNG and JPEG files, by the service and by training alike."""
