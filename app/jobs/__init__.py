"""Job queue, leases, inference requests and publish/subscribe over the database and Redis."""
