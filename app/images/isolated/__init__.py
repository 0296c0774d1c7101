"""Processes that do one kind of risky work apart from the service, within limits of the kernel."""
