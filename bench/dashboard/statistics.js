// The comparison of apps/prune/run_statistics.cc, so that the page and the gate say the same; a test compares them.
'use strict';

const FALSE_ALARM = 0.01;
const CONFIDENCE = 0.99;
const EXACT_RANKS = 25;

// P(u of the n m pairs are won by the n), both from one distribution.
function rankSumDistribution(n, m) {
  let row = Array.from({length: m + 1}, () => [1]);
  for (let i = 1; i <= n; ++i) {
    const next = [[1]];
    for (let j = 1; j <= m; ++j) {
      const p = new Array(i * j + 1).fill(0);
      row[j].forEach((value, u) => { p[u + j] += value * i / (i + j); });
      next[j - 1].forEach((value, u) => { p[u] += value * j / (i + j); });
      next.push(p);
    }
    row = next;
  }
  return row[m];
}

// The complementary error function, to 1e-7: W. J. Cody's form is more than a page needs (Abramowitz, Stegun 7.1.26).
function normalBelow(z) {
  const t = 1 / (1 + 0.3275911 * Math.abs(z) / Math.SQRT2);
  const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const tail = 0.5 * poly * Math.exp(-z * z / 2);
  return z > 0 ? 1 - tail : tail;
}

const rankSums = new Map();
// A function of u: P(at most u pairs are won).
function rankSum(n, m) {
  const key = `${n} ${m}`;
  if (rankSums.has(key)) return rankSums.get(key);
  let atMost;
  if (n > EXACT_RANKS || m > EXACT_RANKS) {
    const deviation = Math.sqrt(n * m * (n + m + 1) / 12);
    atMost = (u) => normalBelow((u + 0.5 - n * m / 2) / deviation);
  } else {
    let sum = 0;
    const cumulative = rankSumDistribution(n, m).map((p) => Math.min(1, sum += p));
    atMost = (u) => (u < 0 ? 0 : cumulative[Math.min(u, cumulative.length - 1)]);
  }
  rankSums.set(key, atMost);
  return atMost;
}

function middle(sorted) {
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// Speeds of two samples of times.
function compareRanks(before, after) {
  const ratios = before.flatMap((b) => after.map((a) => b / a)).sort((x, y) => x - y);
  const pairs = ratios.length;
  const lower = ratios.filter((r) => r < 1).length, notHigher = ratios.filter((r) => r <= 1).length;
  const atMost = rankSum(after.length, before.length);
  let k = -1;
  while (k + 1 < pairs && atMost(k + 1) <= (1 - CONFIDENCE) / 2) ++k;
  return {
    ratio: middle(ratios), low: k < 0 ? 0 : ratios[k], high: k < 0 ? Infinity : ratios[pairs - 1 - k],
    pLower: atMost(pairs - lower), pHigher: atMost(notHigher), least: atMost(0),
  };
}

function holm(p) {
  const order = p.map((_, i) => i).sort((a, b) => p[a] - p[b]);
  const adjusted = [];
  let highest = 0;
  order.forEach((i, rank) => { adjusted[i] = highest = Math.max(highest, Math.min(1, (p.length - rank) * p[i])); });
  return adjusted;
}

// The cases of both runs, the slowest first, each with its verdict.
function compareRuns(before, after) {
  const byName = new Map(after.cases.map((one) => [one.name, one]));
  const rows = [];
  for (const old of before.cases) {
    const now = byName.get(old.name);
    if (!now || !old.samples) continue;
    if (now.samples) rows.push({old, now, ...compareRanks(old.samples, now.samples)});
    else rows.push({old, now, ratio: 0, verdict: 'failed'});
  }
  const measured = rows.filter((row) => !row.verdict);
  const lower = holm(measured.map((row) => row.pLower)), higher = holm(measured.map((row) => row.pHigher));
  measured.forEach((row, i) => {
    row.verdict = row.least * measured.length > FALSE_ALARM ? 'too few repetitions' : 'same';
    if (lower[i] <= FALSE_ALARM) row.verdict = 'slower';
    if (higher[i] <= FALSE_ALARM) row.verdict = 'faster';
  });
  return rows.sort((a, b) => a.ratio - b.ratio);
}

function isRegression(row, limit) {
  return row.verdict === 'failed' || (row.verdict === 'slower' && row.ratio < limit);
}
