"""A client of the dead letters."""

import json

from harness.client import Connection
from harness.daemon import Daemon
from harness.proc import wait_until


def of_event(daemon: Daemon, event_id: str) -> list[dict]:
    """The letters of one event, without their content."""
    return daemon.get(f"/v1/dead-letters?event_id={event_id}").json()["letters"]


def everything(daemon: Daemon) -> list[dict]:
    letters, after = [], ""
    while True:
        page = daemon.get(f"/v1/dead-letters?limit=7{after}").json()
        letters += page["letters"]
        if page["next"] is None:
            return letters
        after = f"&after={page['next']}"


def wait_for(daemon: Daemon, event_id: str) -> dict:
    """The one letter of an event, once it is kept."""
    letters = wait_until(lambda: of_event(daemon, event_id), f"the dead letter of {event_id}")
    assert len(letters) == 1, letters
    return letters[0]


def replay(daemon: Daemon, **order) -> list[dict]:
    body = json.dumps({"operator": "jane", "reason": "a test", **order}).encode()
    headers = {"content_type": "application/json", "authorization": daemon.bearer()}
    with Connection(daemon.port) as api:
        answer = api.request("POST", "/v1/dead-letters/replay", body, **headers)
    assert answer.status == 200, answer.body
    return answer.json()["results"]
