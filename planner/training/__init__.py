"""Training and evaluation of the vision-language planner."""
