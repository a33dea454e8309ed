"""profiles.yaml: its models, its checks, its schema and its reload."""
