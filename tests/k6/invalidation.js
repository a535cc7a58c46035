// Invalidation: once publishing has answered, the very next request is decided by the event, on
// every connection, and nobody else's is.

import { edge, load, options as combine, paced, publisher as known } from './lib/settings.js';
import { publish } from './lib/publish.js';
import { ask, askAtOnce, stranger } from './lib/users.js';
import {
  Exact, Latency, PROPAGATION_P50_MS, PROPAGATION_P99_MS, thresholds,
} from './lib/verdict.js';

export { handleSummary } from './lib/report.js';

const publisher = known();
const CONNECTIONS = 4;

const acknowledged = new Exact(
  'publish_acknowledged', 'publishing answers that it is enforced everywhere',
);
const enforced = new Exact('block_enforced', 'a blocked user gets 403 at the very next request');
const lifted = new Exact('block_lifted', 'an unblocked user gets 200 at the very next request');
const innocent = new Exact('false_block', 'nobody is blocked falsely');
const propagation = new Latency('propagation_ms', 'from publishing to enforced', {
  med: PROPAGATION_P50_MS,
  'p(99)': PROPAGATION_P99_MS,
});
const receipt = new Latency(
  'publish_ms', 'until the publisher has the answer, the disk included', {},
);

export function invalidation() {
  const [user, neighbour] = [stranger(), stranger()];
  served(ask(user));

  // It ends by itself, in case nobody is left to lift it.
  if (!tell(user, { action: 'block', reason: 'load-test', for: '10m' })) return;
  const statuses = askAtOnce(user, CONNECTIONS).map((answer) => answer.status);
  enforced.judge(statuses.every((status) => status === 403), () => statuses.join(', '));
  served(ask(neighbour));

  if (!tell(user, { action: 'unblock', reason: 'load-test' })) return;
  const after = ask(user);
  lifted.judge(after.status === 200, () => `${after.status} ${after.error}`);
}

// Publishes, and says whether it is enforced.
function tell(user, payload) {
  const answer = publish(publisher, user, payload);
  const why = () => `${answer.status} ${answer.error} ${answer.body}`;
  if (!acknowledged.judge(answer.status === 200, why)) return false;
  receipt.add(answer.timings.duration);
  propagation.add(answer.json('elapsed_ms'));
  return true;
}

function served(answer) {
  innocent.judge(answer.status === 200, () => `${answer.status} ${answer.error} at ${edge.url}`);
}

export const scenarios = { invalidation: paced('invalidation', load.rate / 10) };
export const rules = thresholds(acknowledged, enforced, lifted, innocent, propagation, receipt);
export const options = combine(scenarios, rules);
