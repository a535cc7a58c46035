// Users that nobody else has: not another run, not another virtual user of this one.

import http from 'k6/http';

import { edge } from './settings.js';

const mine = Math.random().toString(36).slice(2, 10);
let count = 0;

// Somebody whom the gate has never seen.
export function stranger() {
  return `load-${mine}-${__VU}-${(count += 1)}`;
}

export function headers(user) {
  return { [edge.userHeader]: user };
}

// One request by somebody, to the gate unless another `base` is named.
export function ask(user, base = edge.url) {
  return http.get(base + edge.path, { headers: headers(user) });
}

// The same request so many times at once, on a connection each.
export function askAtOnce(user, times) {
  const one = { method: 'GET', url: edge.url + edge.path, params: { headers: headers(user) } };
  return http.batch(Array(times).fill(one));
}
