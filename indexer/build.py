"""Catalog to a published index version: embeds what has no embedding yet, builds, measures, publishes."""
