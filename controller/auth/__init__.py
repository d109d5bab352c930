"""Who may call the REST API: users and bearer tokens. Secrets are kept as hashes only."""
