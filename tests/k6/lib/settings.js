// Where the load goes, how much of it, and what is known of the gate there: from the environment.
// docs/how-to/load-test.md describes each variable; scripts/load sets all of them for its own stack.

function required(name) {
  const value = __ENV[name];
  if (!value) throw new Error(`${name} is not set: see docs/how-to/load-test.md`);
  return value;
}

function number(name, fallback) {
  const value = Number(__ENV[name] || fallback);
  if (!(value > 0)) throw new Error(`${name}: must be a number greater than 0`);
  return value;
}

// A newline at the end of such a file does not count.
function content(name) {
  return open(required(name)).replace(/[\r\n]+$/, '');
}

function address(name) {
  const url = __ENV[name] || '';
  if (url && !/^https?:\/\/[^/]+\/?$/.test(url)) {
    throw new Error(`${name}: must be a URL without a path, such as http://127.0.0.1:10000`);
  }
  return url.replace(/\/$/, '');
}

export const load = {
  seconds: number('PORTCULLIS_LOAD_SECONDS', 20),
  // Requests a second of the steady users; the other scenarios are in proportion.
  rate: number('PORTCULLIS_LOAD_RATE', 100),
  // What the bounds of latencies are multiplied by.
  slack: number('PORTCULLIS_LOAD_SLACK', 1),
};

required('PORTCULLIS_URL');
export const edge = {
  url: address('PORTCULLIS_URL'),
  // The same upstream without the filter; empty if there is no such listener.
  baseline: address('PORTCULLIS_BASELINE_URL'),
  path: __ENV.PORTCULLIS_PATH || '/',
  userHeader: __ENV.PORTCULLIS_USER_HEADER || 'x-user-id',
};

// The limit per user on that path. Called by the scripts that need it, before the run begins.
export function limit() {
  required('PORTCULLIS_LIMIT_BURST');
  required('PORTCULLIS_LIMIT_PER_SECOND');
  return {
    burst: number('PORTCULLIS_LIMIT_BURST'),
    perSecond: number('PORTCULLIS_LIMIT_PER_SECOND'),
  };
}

// A partner, and the path of an integration with the profile `portcullis`.
export function partner() {
  return {
    keyId: required('PORTCULLIS_KEY_ID'),
    secret: content('PORTCULLIS_KEY_SECRET_FILE'),
    path: required('PORTCULLIS_SIGNED_PATH'),
    replayStatus: number('PORTCULLIS_REPLAY_STATUS', 409),
  };
}

// The invalidator's API, and a token of a publisher or an operator.
export function publisher() {
  required('PORTCULLIS_API');
  return { url: address('PORTCULLIS_API'), token: content('PORTCULLIS_TOKEN_FILE') };
}

// What every script's options have in common. `scenarios` are k6's.
export function options(scenarios, thresholds) {
  return {
    scenarios,
    thresholds,
    // An answer that points elsewhere must not take the load there.
    maxRedirects: 0,
    batch: 32,
    batchPerHost: 32,
    summaryTrendStats: ['count', 'med', 'p(99)', 'max'],
    setupTimeout: '10s',
  };
}

// So many iterations a second, for as long as the load lasts.
export function paced(exec, perSecond) {
  const rate = Math.max(1, Math.round(perSecond));
  return {
    executor: 'constant-arrival-rate',
    exec,
    rate,
    timeUnit: '1s',
    duration: `${load.seconds}s`,
    preAllocatedVUs: Math.min(50, Math.max(4, Math.ceil(rate / 10))),
    maxVUs: 100,
    gracefulStop: '5s',
  };
}

// So many clients, each at its own speed.
export function clients(exec, vus) {
  return {
    executor: 'constant-vus',
    exec,
    vus,
    duration: `${load.seconds}s`,
    gracefulStop: '10s',
  };
}
