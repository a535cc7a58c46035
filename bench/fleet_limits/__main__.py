"""Runs what `scripts/fleet` asks for."""

import sys

from bench.fleet_limits.cli import main

sys.exit(main())
