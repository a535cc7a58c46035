"""Load: k6 against a stack of our own, or against somebody's Envoy."""
