"""Starts and drives the real parts: Envoy with the module, the daemon, Redis, an upstream.

Tests see only binaries, ports and files; nothing here knows how the product works inside. A test
takes the shared `stack` (or starts its own with `running(...)`) and a `user` of its own:

    def test_withdraw_stays_open(stack, user):
        stack.daemon.block(user, scope=["bet"])
        assert stack.edge.get("/bet", user).status == 403
        assert stack.edge.get("/withdraw", user).status == 200
"""
