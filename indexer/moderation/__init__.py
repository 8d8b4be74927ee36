"""Prohibited content: a shop's policy file, detectors, and what they find in a photo."""
