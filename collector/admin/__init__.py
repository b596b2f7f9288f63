"""What an operator sees: metrics, health, and why a trace was kept."""
