// The charts, on Chart.js. Each function takes cases and draws them on its canvas.
'use strict';

const PALETTE = {  // told apart by readers who see fewer colours too; the marks differ as well
  light: ['#0060a8', '#c04a00', '#00805c', '#a83279', '#8a6d00', '#2f8fc4', '#7a4b3a', '#5b5f66'],
  dark: ['#5fb2f2', '#ff9a5c', '#3fd0a4', '#f09bcb', '#e8c547', '#9bd7ff', '#d1a796', '#b5bcc4'],
};
const MARKS = ['circle', 'triangle', 'rect', 'rectRot', 'star', 'crossRot', 'cross', 'dash'];
const charts = new Map();

function theme() {
  return document.documentElement.dataset.theme;
}

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function seriesStyle(index) {
  const colour = PALETTE[theme()][index % PALETTE.light.length];
  return {borderColor: colour, backgroundColor: colour, pointStyle: MARKS[index % MARKS.length],
    pointRadius: 5, pointHoverRadius: 7, borderWidth: 2};
}

// Vertical bars from low to high of points that carry both.
const intervalBars = {
  id: 'intervalBars',
  afterDatasetsDraw(chart) {
    const {ctx, chartArea: area} = chart;
    ctx.save();
    ctx.beginPath();
    ctx.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
    ctx.clip();
    chart.data.datasets.forEach((dataset, index) => {
      if (!chart.isDatasetVisible(index)) return;
      chart.getDatasetMeta(index).data.forEach((element, i) => {
        const point = dataset.data[i];
        if (!(point.low < point.high)) return;
        const y = (value) => chart.scales.y.getPixelForValue(value);
        ctx.strokeStyle = dataset.borderColor;
        ctx.lineWidth = 1.5;
        ctx.beginPath();
        for (const end of [point.low, point.high]) {
          ctx.moveTo(element.x - 4, y(end));
          ctx.lineTo(element.x + 4, y(end));
        }
        ctx.moveTo(element.x, y(point.low));
        ctx.lineTo(element.x, y(point.high));
        ctx.stroke();
      });
    });
    ctx.restore();
  },
};

function axis(title, more = {}) {
  return {
    title: {display: true, text: title, color: cssColour('--text')}, grid: {color: cssColour('--grid')},
    ...more, ticks: {color: cssColour('--quiet'), ...more.ticks},
  };
}

// A logarithmic axis with a tick at each power of the base, every second one where they are many.
function logAxis(title, base, more = {}) {
  return axis(title, {type: 'logarithmic', ...more, ticks: {callback: shortNumber}, afterBuildTicks(scale) {
    const power = (value) => Math.log(value) / Math.log(base);
    const from = Math.ceil(power(scale.min) - 1e-9), to = Math.floor(power(scale.max) + 1e-9);
    const step = Math.ceil((to - from + 1) / 10);
    scale.ticks = [];
    for (let i = from; i <= to; i += step) scale.ticks.push({value: base ** i});
  }});
}

// Draws or redraws. `says` is what a screen reader reads for the picture; the tables below hold the numbers.
function draw(id, type, datasets, scales, says, more = {}) {
  charts.get(id)?.destroy();
  const canvas = document.getElementById(id);
  canvas.setAttribute('aria-label', says);
  charts.set(id, new Chart(canvas, {
    type,
    data: {datasets, ...(more.labels && {labels: more.labels})},
    plugins: [intervalBars],
    options: {
      animation: false, responsive: true, maintainAspectRatio: false, scales,
      interaction: {mode: 'nearest', intersect: true},
      plugins: {
        legend: {position: 'bottom', labels: {color: cssColour('--text'), usePointStyle: true, boxHeight: 7,
          filter: (item, data) => !data.datasets[item.datasetIndex].unnamed}},
        tooltip: {filter: (item) => Boolean(item.dataset.data[item.dataIndex].lines),
          callbacks: {title: (items) => items[0]?.dataset.label ?? '', label: (item) => item.raw.lines}},
      },
    },
  }));
}

function line(label, data, colour, more = {}) {
  return {type: 'line', label, data, borderColor: colour, backgroundColor: colour, borderWidth: 2, pointRadius: 0,
    pointHitRadius: 0, pointStyle: 'line', ...more};
}

function groupBy(list, key) {
  const groups = new Map();
  for (const one of list) {
    if (!groups.has(key(one))) groups.set(key(one), []);
    groups.get(key(one)).push(one);
  }
  return groups;
}

function withInterval(value) {
  return value.low < value.high ? `${shortNumber(value.median)} (${shortNumber(value.low)} to ${shortNumber(value.high)})`
    : shortNumber(value.median);
}

function speedupPoint(one) {
  const speedup = valueOf(one, 'speedup'), roofline = valueOf(one, 'roofline');
  const limit = roofline ? speedup.median / roofline.median : null;
  const lines = [`${shortNumber(one.sparsity)}% zeros: ${withInterval(speedup)} times dense`];
  if (limit) lines.push(`at most ${shortNumber(limit)} by the roofline`);
  lines.push(`${inTime(one.seconds[0])}${one.label ? `, ${one.label}` : ''}`, `run ${one.run.label}`);
  return {x: one.sparsity, y: speedup.median, low: speedup.low, high: speedup.high, limit, lines};
}

function drawSpeedup(cases, peers, what) {
  const points = cases.filter((one) => Number.isFinite(one.sparsity) && valueOf(one, 'speedup')?.median > 0);
  const severalIsas = new Set(points.map((one) => one.isa)).size > 1;
  const nameOf = (one) => [one.op, one.more, severalIsas && one.isa].filter(Boolean).join(' ');
  const ends = [10 * Math.floor((Math.min(100, ...points.map((one) => one.sparsity)) - 1) / 10), 100];
  const level = (y) => ends.map((x) => ({x, y}));
  const datasets = [line('dense = 1', level(1), cssColour('--text'))];
  for (const peer of points.length ? peers : []) {
    const {median} = valueOf(peer, 'speedup');
    datasets.push(line(`${peer.op}: ${shortNumber(median)}`, level(median), cssColour('--quiet'), {borderDash: [2, 3]}));
  }
  let index = 0;
  for (const [name, group] of [...groupBy(points, nameOf)].sort(([a], [b]) => byNumberOrText(a, b))) {
    const data = group.map(speedupPoint).sort((a, b) => a.x - b.x);
    const style = seriesStyle(index++);
    datasets.push({type: 'line', label: name, data, ...style});
    const limits = data.filter((point) => point.limit).map((point) => ({x: point.x, y: point.limit}));
    // A limit at one sparsity is a stroke, not a line.
    if (limits.length === 1) limits.splice(0, 1, ...[-1, 1].map((by) => ({x: limits[0].x + by, y: limits[0].y})));
    datasets.push(line(`roofline limit of ${name}`, limits, style.borderColor, {borderDash: [6, 4], unnamed: true}));
  }
  const heights = datasets.flatMap(({data}) => data.map(({y}) => y));
  const losing = points.filter((one) => valueOf(one, 'speedup').median < 1).length;
  draw('speedup-chart', 'scatter', datasets, {
    x: axis('zeros, % of the weights', {type: 'linear', min: Math.max(0, ends[0]), max: ends[1]}),
    y: logAxis('times as fast as dense', 2, {min: 0.9 * Math.min(0.5, ...heights), max: 1.1 * Math.max(4, ...heights)}),
  }, `Speed-up against sparsity for ${what}: ${index} series, ${points.length} cases, ${losing} of them slower than dense.`);
}

// The roofs of the last run of each device among the cases.
function roofsOf(cases) {
  const roofs = new Map();
  for (const {run, label} of cases) {
    const bandwidth = Number(run.context.read_bandwidth_GBps), peak = Number(run.context.fma_peak_GFLOPps);
    if (!(bandwidth > 0 && peak > 0)) continue;
    const old = roofs.get(run.device);
    const bf16 = Boolean(old?.bf16) || label.includes('avx512bf16');
    if (!old || !(run.time < old.time)) roofs.set(run.device, {bandwidth, peak, bf16, time: run.time});
    else old.bf16 = bf16;
  }
  return roofs;
}

function rooflinePoint(one) {
  const flops = valueOf(one, 'GFLOP/s'), bytes = valueOf(one, 'GB/s');
  if (!flops || !bytes || !(bytes.median > 0)) return null;
  const done = flops.median * (1 - (one.sparsity || 0) / 100);
  const roofline = valueOf(one, 'roofline');
  const lines = [one.name, `${shortNumber(done)} GFLOP/s done, ${shortNumber(bytes.median)} GB/s`];
  if (roofline) lines.push(`${shortNumber(roofline.median * 100)}% of the limit`);
  return {x: done / bytes.median, y: done, lines};
}

function drawRoofline(cases, what) {
  const datasets = [];
  let index = 0, shown = 0, low = Infinity, high = 0;
  for (const [op, group] of [...groupBy(cases, (one) => one.op)].sort(([a], [b]) => byNumberOrText(a, b))) {
    const data = group.map(rooflinePoint).filter((point) => point && point.x > 0 && point.y > 0);
    if (!data.length) continue;
    shown += data.length;
    for (const {x} of data) [low, high] = [Math.min(low, x), Math.max(high, x)];
    datasets.push({type: 'scatter', label: op, data, ...seriesStyle(index++), pointRadius: 4});
  }
  const roofs = shown ? roofsOf(cases) : new Map();
  for (const [device, {bandwidth, peak, bf16}] of roofs) {
    const from = Math.min(low, peak / bandwidth) / 2, to = Math.max(high, 2 * peak / bandwidth) * 2;
    const roof = (top) => [from, top / bandwidth, to].map((x) => ({x, y: Math.min(top, bandwidth * x)}));
    const name = roofs.size > 1 ? `, ${device}` : '';
    datasets.push(line(`${shortNumber(bandwidth)} GB/s, ${shortNumber(peak)} GFLOP/s in floats${name}`, roof(peak), cssColour('--text')));
    if (bf16) {
      const twice = [{x: peak / bandwidth, y: peak}, ...roof(2 * peak).slice(1)];
      datasets.push(line(`dashed: twice that in bf16 products${name}`, twice, cssColour('--text'), {borderDash: [6, 4]}));
    }
  }
  const heights = datasets.flatMap(({data}) => data.map(({y}) => y));
  draw('roofline-chart', 'scatter', datasets, {
    x: logAxis('operations per byte moved', 10),
    y: logAxis('GFLOP/s that are really done', 10, {min: Math.min(...heights) / 2, max: Math.max(...heights) * 2}),
  }, `Roofline of ${what}: ${shown} of them with both counters.`);
}

// Runs on other devices, or with another number of threads, than the last one are of another history.
function drawHistory(runs, name, key) {
  const points = [];
  const found = runs.map((run) => [run, run.cases.find((c) => c.name === name && valueOf(c, key))]).filter(([, one]) => one);
  const machineOf = (run) => `${run.device} ${run.context.threads ?? ''}`;
  for (const [run, one] of found) {
    if (machineOf(run) !== machineOf(found.at(-1)[0])) continue;
    const scale = key === 'seconds' ? 1e3 : 1;
    const value = valueOf(one, key);
    points.push({x: run.label, y: value.median * scale, lowest: value.low * scale, highest: value.high * scale,
      lines: [key === 'seconds' ? `${inTime(value.median)} (${inTime(value.low)} to ${inTime(value.high)})` : withInterval(value),
        `${one.repetitions} repetitions, run ${run.label}`, ...(one.label ? [one.label] : [])]});
  }
  const style = seriesStyle(0);
  const edge = {borderWidth: 0, pointRadius: 0, pointHitRadius: 0, unnamed: true};
  const band = `${style.borderColor}40`;
  draw('history-chart', 'line', [
    {label: 'lower end', data: points.map(({x, lowest}) => ({x, y: lowest})), ...edge},
    {label: 'upper end', data: points.map(({x, highest}) => ({x, y: highest})), ...edge, fill: '-1', backgroundColor: band},
    {label: 'median', data: points, ...style},
  ], {
    x: axis('run', {type: 'category', ticks: {callback(value) { return this.getLabelForValue(value).split(',')[0]; }}}),
    y: axis(key === 'seconds' ? 'time, ms' : key, {type: 'linear', grace: '10%'}),
  }, `${key === 'seconds' ? 'Time' : key} of ${name} in ${points.length} runs.`, {labels: points.map(({x}) => x)});
}
