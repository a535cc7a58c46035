// Limits: who stays below the limit is served and hardly slowed down; who does not gets exactly
// what the bucket holds, however many connections he has.

import { sleep } from 'k6';
import exec from 'k6/execution';

import { edge, limit, load, clients, options as combine, paced } from './lib/settings.js';
import { ask, askAtOnce, stranger } from './lib/users.js';
import { ADDED_MS, Added, Exact, thresholds } from './lib/verdict.js';

export { handleSummary } from './lib/report.js';

const { burst, perSecond } = limit();

// Requests that a greedy client sends at once, and how long it waits before it does so again.
const AT_ONCE = 8;
const PAUSE_S = 0.1;
// The longest Retry-After that is waited for.
const PATIENCE_S = 5;

const served = new Exact('steady_served', 'a user below the limit is served');
const bounded = new Exact('limit_bounded', 'no user gets more than burst + rate x time');
const limited = new Exact(
  'limit_felt', 'a user beyond the limit gets 200 or 429, and 429 in the end',
);
const told = new Exact('retry_after_told', '429 comes with Retry-After');
const waited = new Exact('retry_after_true', 'who waits for Retry-After is served');
const added = new Added('limit_added', 'what the gate adds to a request', ADDED_MS);

// Each steady user asks a quarter as often as he may, once the burst is left out.
const STEADY_USERS = Math.ceil((4 * load.rate) / perSecond);

export function steady() {
  const { iterationInTest: iteration, startTime } = exec.scenario;
  const user = `load-steady-${startTime}-${iteration % STEADY_USERS}`;
  const isGateFirst = iteration % 2 === 0;
  if (!isGateFirst) askBaseline(user);
  const answer = ask(user);
  served.judge(answer.status === 200, () => `${answer.status} ${answer.error}`);
  added.gate.add(answer.timings.duration);
  if (isGateFirst) askBaseline(user);
}

function askBaseline(user) {
  if (edge.baseline) added.plain.add(ask(user, edge.baseline).timings.duration);
}

// One greedy user per virtual user, who asks on several connections at once.
const greed = { user: null, began: 0, admitted: 0, refused: 0 };

export function greedy() {
  if (!greed.user) Object.assign(greed, { user: stranger(), began: Date.now() });
  const answers = askAtOnce(greed.user, AT_ONCE);
  // Whole milliseconds are cut off at both ends: it was less than one more.
  const elapsed_s = (Date.now() + 1 - greed.began) / 1000;
  for (const answer of answers) {
    if (answer.status === 200) greed.admitted += 1;
    if (answer.status === 429) greed.refused += 1;
    if (answer.status === 429) told.judge(retryAfter(answer) >= 1, () => 'no Retry-After');
    else if (answer.status !== 200) limited.judge(false, () => `${answer.status} ${answer.error}`);
  }
  const most = burst + perSecond * elapsed_s;
  const why = () => `${greed.admitted} in ${elapsed_s} s, and not ${most.toFixed(1)}`;
  bounded.judge(greed.admitted <= most, why);
  if (greed.refused > 0) limited.judge(true);
  sleep(PAUSE_S);
}

// Somebody who empties his bucket and then does as he is told.
export function patient() {
  const user = stranger();
  let last = askAtOnce(user, Math.min(burst, 100)).pop();
  for (let tries = 0; last.status === 200 && tries < 1000; tries += 1) last = ask(user);
  const wait_s = retryAfter(last);
  if (last.status !== 429 || !(wait_s <= PATIENCE_S)) return sleep(PAUSE_S);
  sleep(wait_s);
  const answer = ask(user);
  waited.judge(answer.status === 200, () => `${answer.status} after ${wait_s} s`);
}

function retryAfter(answer) {
  return Number(answer.headers['Retry-After']);
}

export const scenarios = {
  steady: paced('steady', load.rate),
  greedy: clients('greedy', 4),
  patient: clients('patient', 1),
};
export const rules = thresholds(served, bounded, limited, told, waited, added);
export const options = combine(scenarios, rules);
