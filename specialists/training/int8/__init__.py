"""Networks in int8: made with nncf, judged by the figures that the manifest states."""
