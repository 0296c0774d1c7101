"""Text burned into pictures: found by a process of its own, and blackened before storage."""
