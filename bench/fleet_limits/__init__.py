"""The proof of limits across the fleet: real Envoys, each with a daemon of its own, on one real Redis.

`patterns` says which requests there are, `client` sends them and logs each, `judge` feeds the same requests to one
exact bucket and says what was admitted too much, `bound` what the formula allows. `contenders` are the limits that
are compared, `nodes` starts them. `faults` breaks parts meanwhile, and `promises` says what must hold then.
Tests of the judge are in tests/test_fleet_proof.py.
"""
