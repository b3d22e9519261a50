"""The HTTP service: FastAPI over `serving`."""
