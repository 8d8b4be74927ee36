"""Detectors of prohibited content, one module each; the registry imports every module here.

To add one, write a module with a ``Detector`` and its ``DetectorConfig``, and register it.
"""
