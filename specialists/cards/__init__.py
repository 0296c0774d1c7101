"""Cards of specialists: terms of use, and results on sources that they were not trained on."""
