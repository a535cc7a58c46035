"""Kills, stops and cuts off everything while blocks are published, and checks what was promised.

    scripts/chaos

What is promised for each way of publishing, and so what is judged here:

- the script in Redis: once it has returned, the event is never lost, with Redis' `appendfsync
  always`. (With `everysec` Redis itself may forget up to two seconds of answered writes.)
- the API: once it has answered 200, every node in the receipt rejects a blocked user's requests
  until an unblock is published; once it has answered 200 or 202, the event is never lost.
- a bare PUBLISH: once a daemon that heard it has committed it, for which it gets
  `publisher.COMMIT_WINDOW_S`. Until then nobody is told that it is safe, and none is.
- FLUSHALL destroys what no daemon has heard. So it is only done while one daemon is untouched.
- damage to single keys of Redis (deleted, of another type, renamed) loses nothing, and delays nobody's
  event: what is in force is written back, by a daemon that looks for it within a second. An event that no
  daemon has heard is in the stream still, so the stream is not trimmed at the same time.
- a daemon that has lost its store reads all from Redis, and lets its Envoy wait until it has. What it had
  answered for while Redis could not be reached is lost with it; so Redis can be reached then.

`ledger` judges, and is plain and synchronous; the others start, break, publish and ask.
"""
