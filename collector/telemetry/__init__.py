"""Self-telemetry: the ledger, the catalogue of metrics, and the instruments."""
