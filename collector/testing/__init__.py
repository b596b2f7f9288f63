"""For tests of components, ours and yours: sample telemetry, and the contracts as test classes."""
