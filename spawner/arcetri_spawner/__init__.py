"""Catalog, policy, store and backends: everything that decides about and runs a session."""
