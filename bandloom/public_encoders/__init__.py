"""Public encoders behind this project's encoder interface: a record and a few files a family."""
