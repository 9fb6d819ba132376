// The runs of the page as objects, and what a case's name says.
'use strict';

const TYPES = new Set(['f32', 'f16', 'bf16', 'i8', 'i4', 'int8', 'int4', 'fp8', 'f64']);
// What Google Benchmark appends to names of its own.
const SUFFIXES = new Set(['manual_time', 'real_time', 'process_time']);

// <op>/<type>/isa:<isa>/m:<m>/k:<k>/n:<n>/sparsity:<percent>: parts with a colon are keys, a known type is the type,
// the other parts are the operation. Any other name is an operation as a whole.
function parseName(name) {
  const keys = new Map();
  const words = [];
  let type = '';
  for (const part of name.split('/')) {
    const colon = part.indexOf(':');
    if (SUFFIXES.has(part)) continue;
    if (colon > 0) keys.set(part.slice(0, colon), part.slice(colon + 1));
    else if (TYPES.has(part) && !type) type = part;
    else words.push(part);
  }
  const take = (key) => {
    const value = keys.get(key) ?? '';
    keys.delete(key);
    return value;
  };
  const m = take('m'), k = take('k');
  return {
    op: words.join('/'), type, isa: take('isa'), n: take('n'), sparsity: Number(take('sparsity') || NaN),
    shape: m && k ? `${m} x ${k}` : '', more: [...keys].map(([key, value]) => `${key}:${value}`).join(' '),
  };
}

function shortName(name) {
  return name.split('/').filter((part) => !SUFFIXES.has(part)).join('/');
}

function readRuns() {
  const runs = JSON.parse(document.getElementById('runs').textContent);
  runs.forEach((run) => {
    run.time = Date.parse(run.context.date ?? '');
    run.device = run.context.gpu ?? run.context.cpu ?? '';
    run.commit = run.context.commit || run.file;
    run.label = run.commit + (run.context.date ? `, ${run.context.date.slice(0, 16).replace('T', ' ')}` : '');
    for (const one of run.cases) {
      Object.assign(one, parseName(one.name), {run});
      one.series = [one.op, one.type, one.more].filter(Boolean).join(' ');
    }
  });
  if (runs.every((run) => Number.isFinite(run.time))) runs.sort((a, b) => a.time - b.time);
  // Two runs may look alike.
  const seen = new Map();
  for (const run of runs) {
    const times = (seen.get(run.label) ?? 0) + 1;
    seen.set(run.label, times);
    if (times > 1) run.label += ` (${times})`;
  }
  return runs;
}

// Of each name the case in the last run that has a time for it.
function latestCases(runs) {
  const latest = new Map();
  for (const run of runs) {
    for (const one of run.cases) {
      if (one.seconds || !latest.has(one.name)) latest.set(one.name, one);
    }
  }
  return [...latest.values()];
}

// {median, low, high} of the time or of a counter; null where there is none.
function valueOf(one, key) {
  const value = key === 'seconds' ? one.seconds : (one.counters ?? {})[key];
  return value ? {median: value[0], low: value[1], high: value[2]} : null;
}

function inTime(seconds) {
  for (const [unit, size] of [['s', 1], ['ms', 1e-3], ['us', 1e-6]]) {
    if (seconds >= size) return `${shortNumber(seconds / size)} ${unit}`;
  }
  return `${shortNumber(seconds * 1e9)} ns`;
}

function shortNumber(value) {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  return size >= 1e6 || (size < 1e-3 && size > 0) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

function byNumberOrText(a, b) {
  return a.localeCompare(b, 'en', {numeric: true});
}
