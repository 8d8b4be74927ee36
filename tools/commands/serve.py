"""The command that runs the service."""
