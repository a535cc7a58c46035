// Publishes events as a risk engine does: docs/reference/api.md.

import http from 'k6/http';

import { nonce } from './sign.js';

// Two events of one user must not be of the same millisecond: the order between them counts.
let last = 0;

function occurredAt() {
  last = Math.max(last + 1, Date.now());
  return new Date(last).toISOString();
}

// Publishes one event, and waits for the answer: 200 when it is enforced everywhere.
export function publish(publisher, user, payload) {
  const event = {
    event_id: `load-${nonce()}`,
    event_type: `load.${payload.action}`,
    schema_version: '1.0',
    occurred_at: occurredAt(),
    key: { user_id: user },
    payload,
  };
  const headers = {
    'content-type': 'application/json',
    authorization: `Bearer ${publisher.token}`,
  };
  return http.post(`${publisher.url}/v1/invalidations`, JSON.stringify(event), { headers });
}
