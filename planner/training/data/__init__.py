"""Training examples of the planner: surveyed images, states, and the teacher's choices in them."""
