"""How much burned-in text is found, and what is blackened that is no text."""
