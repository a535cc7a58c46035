"""Starts and drives the real parts: Envoy with the module, the daemon, Redis, an upstream.

Tests see only binaries, ports and files. Nothing here knows how the product works inside.
"""
