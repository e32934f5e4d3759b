from answers import server  # noqa: F401
