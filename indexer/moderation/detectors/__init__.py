"""Detectors of prohibited content, one module each, imported by the registry.

To add one, write a module with a ``Detector`` and its ``DetectorConfig``, and register it.
"""
