"""The demo: the whole loop on one machine, and a story to watch."""
