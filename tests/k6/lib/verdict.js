// What must hold. Each rule is a set of k6's thresholds, and a line of the report.
//
// k6 takes a rate or a trend without any sample for a passed one, so each rule here also has a
// count that must not be zero: a run that has looked at nothing fails.

import { Counter, Trend } from 'k6/metrics';

import { load } from './settings.js';

// Goals for one host, in milliseconds. What is added is the ceiling.
export const ADDED_MS = 0.5;
export const PROPAGATION_P50_MS = 1;
export const PROPAGATION_P99_MS = 5;

// Where requests without the gate vary by so many times the bound, the bound cannot be seen.
const NOISE = 20;

// A broken rule is explained in the log, but not thousands of times.
const EXPLAINED_MAX = 3;

// In the order in which the report shows them.
export const rules = [];

export class Exact {
  constructor(name, sentence) {
    this.name = name;
    this.sentence = sentence;
    this.kept = new Counter(`${name}_kept`);
    this.broken = new Counter(`${name}_broken`);
    this.explained = 0;
    this.thresholds = { [`${name}_kept`]: ['count>0'], [`${name}_broken`]: ['count==0'] };
    rules.push(this);
  }

  // Whether it holds this time; `why` is asked for words only if it does not.
  judge(holds, why) {
    (holds ? this.kept : this.broken).add(1);
    if (!holds && this.explained++ < EXPLAINED_MAX) console.error(`${this.sentence}: ${why()}`);
    return holds;
  }
}

export class Latency {
  // `bounds_ms` by k6's name of a statistic, such as { 'p(99)': 5 }.
  constructor(name, sentence, bounds_ms) {
    this.name = name;
    this.sentence = sentence;
    this.bounds = Object.entries(bounds_ms).map(([stat, ms]) => [stat, ms * load.slack]);
    this.trend = new Trend(name, true);
    this.count = new Counter(`${name}_count`);
    this.thresholds = { [`${name}_count`]: ['count>0'] };
    if (this.bounds.length > 0) {
      this.thresholds[name] = this.bounds.map(([stat, ms]) => `${stat}<=${ms}`);
    }
    rules.push(this);
  }

  add(ms) {
    this.trend.add(ms);
    this.count.add(1);
  }
}

// How much longer requests take with the gate than without it, at the median and at the 99th
// percentile. k6 has no threshold over two metrics: `report.js` judges it, and scripts/load makes
// an exit code of that.
export class Added {
  constructor(name, sentence, bound_ms) {
    this.sentence = sentence;
    this.bound = bound_ms * load.slack;
    this.noise = this.bound * NOISE;
    this.gate = new Trend(`${name}_gate`, true);
    this.plain = new Trend(`${name}_plain`, true);
    this.names = [`${name}_gate`, `${name}_plain`];
    this.thresholds = {};
    rules.push(this);
  }
}

export function thresholds(...some) {
  return Object.assign({}, ...some.map((rule) => rule.thresholds));
}
