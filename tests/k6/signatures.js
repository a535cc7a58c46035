// Signed requests: what a partner signs passes once, whatever is altered does not, and of copies
// that are sent at once exactly one passes.

import http from 'k6/http';
import exec from 'k6/execution';

import { edge, load, options as combine, paced, partner as known } from './lib/settings.js';
import { nonce, now, sign } from './lib/sign.js';
import { headers as of, stranger } from './lib/users.js';
import { ADDED_MS, Added, Exact, thresholds } from './lib/verdict.js';

export { handleSummary } from './lib/report.js';

const partner = known();
const COPIES = 4;
// Far beyond any tolerance that is sensible.
const DAY_S = 24 * 60 * 60;

const accepted = new Exact('signed_accepted', 'a signed request passes');
const refused = new Exact('altered_refused', 'an altered, unsigned or outdated request gets 401');
const once = new Exact(
  'replay_refused', `a request that was used before gets ${partner.replayStatus}`,
);
const single = new Exact('copies_single', 'of copies at once exactly one passes');
const added = new Added('signed_added', 'what verification adds to a request of 1 KiB', ADDED_MS);

// One thing that is wrong, each by its name, in a request that is right in every other way.
const ALTERATIONS = {
  body: (r) => ({ ...r, body: `${r.body.slice(0, -1)} ` }),
  path: (r) => ({ ...r, path: `${r.path}?x` }),
  timestamp: (r) => withHeader(r, 'x-timestamp', String(r.headers['x-timestamp'] - 1)),
  nonce: (r) => withHeader(r, 'x-request-id', nonce()),
  'key id': (r) => withHeader(r, 'x-key-id', `${partner.keyId}x`),
  signature: (r) => withHeader(r, 'x-signature', r.headers['x-signature'].replace(/.$/, flipped)),
  'no signature': (r) => ({ ...r, headers: {} }),
  'signed long ago': (r) => signed(r, { at: now() - DAY_S }),
  'signed in the future': (r) => signed(r, { at: now() + DAY_S }),
};
const KINDS = Object.keys(ALTERATIONS);

function flipped(digit) {
  return digit === '0' ? '1' : '0';
}

function withHeader(request, name, value) {
  return { ...request, headers: { ...request.headers, [name]: value } };
}

function signed(request, choices) {
  const { method, path, body } = request;
  return { ...request, headers: sign(partner, method, path, body, choices) };
}

function request() {
  const body = JSON.stringify({ order: nonce(), text: 'x'.repeat(970) });
  return signed({ method: 'POST', path: partner.path, body });
}

function send(request, base = edge.url) {
  return http.request(request.method, base + request.path, request.body, parameters(request));
}

function parameters({ headers }) {
  return { headers: { 'content-type': 'application/json', ...of(stranger()), ...headers } };
}

export function signatures() {
  const iteration = exec.scenario.iterationInTest;
  const good = request();
  const isGateFirst = iteration % 2 === 0;
  if (!isGateFirst) askBaseline(good);
  const first = send(good);
  added.gate.add(first.timings.duration);
  if (isGateFirst) askBaseline(good);
  accepted.judge(first.status === 200, () => `${first.status} ${first.error}`);

  const again = send(good);
  once.judge(again.status === partner.replayStatus, () => `${again.status} ${again.error}`);

  const kind = KINDS[iteration % KINDS.length];
  const wrong = send(ALTERATIONS[kind](request()));
  refused.judge(wrong.status === 401, () => `${kind}: ${wrong.status} ${wrong.error}`);
}

function askBaseline(good) {
  if (edge.baseline) added.plain.add(send(good, edge.baseline).timings.duration);
}

// The same signed request on several connections at once.
export function copies() {
  const { method, path, body, headers } = request();
  const params = parameters({ headers });
  const copy = { method, url: edge.url + path, body, params };
  const statuses = http.batch(Array(COPIES).fill(copy)).map((answer) => answer.status);
  const passed = statuses.filter((status) => status === 200).length;
  const replays = statuses.filter((status) => status === partner.replayStatus).length;
  single.judge(passed === 1 && replays === COPIES - 1, () => statuses.join(', '));
}

export const scenarios = {
  signatures: paced('signatures', load.rate / 4),
  copies: paced('copies', load.rate / 10),
};
export const rules = thresholds(accepted, refused, once, single, added);
export const options = combine(scenarios, rules);
