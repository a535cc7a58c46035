"""What the gate costs, beside what users would pick instead. See `scripts/bench`.

It measures, and asserts nothing about correctness: that is what `tests` is for.
"""
