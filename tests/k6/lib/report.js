// The end of a run: a few lines for the terminal, Markdown for a file, and a verdict for the
// program that has started k6.

import { Added, Exact, rules } from './verdict.js';
import { edge, load } from './settings.js';

export function handleSummary(data) {
  const rows = rules.map((rule) => row(rule, data.metrics));
  const passed = rows.every((one) => one.ok) && thresholdsHold(data.metrics);
  const files = { stdout: terminal(rows, passed) };
  if (__ENV.PORTCULLIS_LOAD_REPORT) {
    files[__ENV.PORTCULLIS_LOAD_REPORT] = markdown(rows, passed, data);
  }
  if (__ENV.PORTCULLIS_LOAD_VERDICT) {
    files[__ENV.PORTCULLIS_LOAD_VERDICT] = JSON.stringify({ passed, rows });
  }
  return files;
}

function thresholdsHold(metrics) {
  const all = Object.values(metrics).flatMap((metric) => Object.values(metric.thresholds || {}));
  return all.every((threshold) => threshold.ok);
}

function row(rule, metrics) {
  if (rule instanceof Exact) return exact(rule, metrics);
  return rule instanceof Added ? added(rule, metrics) : latency(rule, metrics);
}

function count(metrics, name) {
  return metrics[name] ? metrics[name].values.count : 0;
}

function exact(rule, metrics) {
  const of = (what) => count(metrics, `${rule.name}_${what}`);
  const [kept, broken] = [of('kept'), of('broken')];
  const measured = `${broken} of ${kept + broken}`;
  return { rule: rule.sentence, bound: 'never broken', measured, ok: kept > 0 && broken === 0 };
}

function latency(rule, metrics) {
  const samples = count(metrics, `${rule.name}_count`);
  const values = samples ? metrics[rule.name].values : {};
  const within = rule.bounds.every(([stat, most]) => values[stat] <= most);
  return {
    rule: rule.sentence,
    bound: rule.bounds.map(([stat, most]) => `${short(stat)} ${ms(most)}`).join(', ') || 'none',
    measured: samples ? percentiles(values) : 'nothing',
    ok: samples > 0 && within,
  };
}

function added(rule, metrics) {
  const bound = `p50 and p99 ${ms(rule.bound)}`;
  if (!edge.baseline) {
    return { rule: rule.sentence, bound, measured: 'no baseline to compare with', ok: true };
  }
  const [gate, plain] = rule.names.map((name) => (metrics[name] ? metrics[name].values : {}));
  const [p50, p99] = ['med', 'p(99)'].map((stat) => gate[stat] - plain[stat]);
  const isQuiet = plain['p(99)'] <= rule.noise;
  const noise = `; beyond ${ms(rule.noise)} at p99 without the gate, nothing can be told`;
  const sides = `${percentiles(gate)} instead of ${percentiles(plain)}${isQuiet ? '' : noise}`;
  const measured = `p50 ${ms(p50)}, p99 ${ms(p99)} (${sides})`;
  // Where nothing was measured these are no numbers, and within no bound.
  const ok = gate.count > 0 && isQuiet && p50 <= rule.bound && p99 <= rule.bound;
  return { rule: rule.sentence, bound, measured, ok };
}

function short(stat) {
  return stat === 'med' ? 'p50' : stat.replace(/[()]/g, '');
}

function percentiles(values) {
  return `p50 ${ms(values.med)}, p99 ${ms(values['p(99)'])}`;
}

function ms(value) {
  return `${Number(value).toFixed(2)} ms`;
}

function terminal(rows, passed) {
  const mark = (one) => (one.ok ? 'ok    ' : 'FAILED');
  const line = (one) => `  ${mark(one)}  ${one.rule}: ${one.measured} (${one.bound})`;
  return [...rows.map(line), passed ? '' : '\nFAILED', ''].join('\n');
}

function cells({ rule, bound, measured, ok }) {
  return `| ${rule} | ${bound} | ${measured} | ${ok ? 'ok' : '**failed**'} |`;
}

function markdown(rows, passed, data) {
  const requests = data.metrics.http_reqs ? data.metrics.http_reqs.values : { count: 0, rate: 0 };
  const facts = {
    when: new Date().toISOString(),
    machine: __ENV.PORTCULLIS_LOAD_MACHINE || 'unknown',
    gate: edge.url,
    baseline: edge.baseline || 'none',
    load: `${load.rate} a second for ${load.seconds} s; bounds of latencies times ${load.slack}`,
    requests: `${requests.count}, ${requests.rate.toFixed(0)} a second`,
    'iterations that no client was free for': count(data.metrics, 'dropped_iterations'),
  };
  return [
    `# Load test: ${__ENV.PORTCULLIS_LOAD_NAME || 'k6'}`,
    '',
    passed ? 'Passed.' : '**Failed.**',
    '',
    '| rule | bound | measured | |',
    '|---|---|---|---|',
    ...rows.map(cells),
    '',
    '| | |',
    '|---|---|',
    ...Object.entries(facts).map(([name, value]) => `| ${name} | ${value} |`),
    '',
  ].join('\n');
}
