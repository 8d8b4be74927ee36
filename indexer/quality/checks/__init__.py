"""Quality checks, one module per subject; every module here is imported by the registry."""
