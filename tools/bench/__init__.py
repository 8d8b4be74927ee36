"""Benchmarks that print their own figures, goals and raw samples."""
