"""The worker process: it claims analyses and runs planner and specialists on them."""
