"""Tests in a real browser, and the driver that they share; run by `make browser`."""
