"""The vision-language planner: network, prompt, vision tower, and how it is loaded."""
