"""The web process: HTTP routes, pages and security; it loads no neural network."""
