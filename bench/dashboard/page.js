// What the page shows, and what happens when its controls change.
'use strict';

const byId = (id) => document.getElementById(id);
const FILTERS = ['op', 'type', 'isa', 'shape', 'n'];
const runs = readRuns();
const orders = {cases: {column: 0, descending: false}, compare: {column: null, descending: false}};

// Options of a select; keeps what was chosen where it is still there.
function fillSelect(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => element('option', {value, textContent: text})));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

function valuesOf(cases, key) {
  return [...new Set(cases.map((one) => one[key]).filter(Boolean))].sort(byNumberOrText);
}

const asOptions = (values) => values.map((value) => [value, value]);

function casesOfChosenRun() {
  const chosen = byId('filter-run').value;
  return chosen === 'latest' ? latestCases(runs) : runs[Number(chosen)].cases;
}

function chosenCases() {
  const text = byId('filter-text').value.toLowerCase();
  return casesOfChosenRun().filter((one) => one.name.toLowerCase().includes(text) &&
    FILTERS.every((key) => byId(`filter-${key}`).value === '' || byId(`filter-${key}`).value === one[key]));
}

function showFilters() {
  for (const key of FILTERS) fillSelect(byId(`filter-${key}`), [['', 'all'], ...asOptions(valuesOf(casesOfChosenRun(), key))]);
}

// Of the values the one with the most points on the curve: a chart that shows something from the start.
function fillCurveSelect(select, cases, key) {
  const values = valuesOf(cases, key);
  const hadChoice = values.includes(select.value);
  fillSelect(select, asOptions(values));
  if (hadChoice) return;
  const points = (value) => new Set(cases.filter((one) => one[key] === value).map((one) => `${one.series} ${one.sparsity}`)).size;
  select.value = values.reduce((best, value) => (best === null || points(value) > points(best) ? value : best), null) ?? '';
}

// One curve is of one shape, type and number of rows. The dense peer is its line at 1, other dense products are lines too.
function showSpeedup(cases) {
  const isDense = (one) => one.op.startsWith('dense/');
  let measured = cases.filter((one) => valueOf(one, 'speedup') && one.op !== 'dense/onednn');
  for (const key of ['shape', 'type', 'n']) {
    const select = byId(`speedup-${key}`);
    fillCurveSelect(select, measured.filter((one) => !isDense(one)), key);
    measured = measured.filter((one) => one[key] === select.value);
  }
  drawSpeedup(measured.filter((one) => !isDense(one)), measured.filter(isDense), `${byId('speedup-shape').value} in ${byId('speedup-type').value}, ${byId('speedup-n').value} rows of X`);
}

function showHistory(cases) {
  const select = byId('history-case');
  const isFirst = select.options.length === 0;
  fillSelect(select, cases.filter((one) => one.seconds).map((one) => [one.name, shortName(one.name)])
    .sort(([a], [b]) => byNumberOrText(a, b)));
  if (isFirst) select.value = cases.find((one) => one.seconds && !one.op.startsWith('dense/'))?.name ?? select.value;
  const counters = new Set(runs.flatMap((run) => run.cases.filter((one) => one.name === select.value)
    .flatMap((one) => Object.keys(one.counters ?? {}))));
  fillSelect(byId('history-value'), [['seconds', 'time'], ...asOptions([...counters].sort(byNumberOrText))]);
  drawHistory(runs, select.value, byId('history-value').value);
}

function showComparison(cases) {
  if (runs.length < 2) return;
  const [before, after] = ['old', 'new'].map((which) => runs[Number(byId(`compare-${which}`).value)]);
  const limit = Number(byId('compare-limit').value) || 0;
  // Judged among all cases of the two runs, as the gate does; the filters choose what is shown.
  const all = compareRuns(before, after);
  const names = new Set(cases.map((one) => one.name));
  const rows = all.filter((row) => names.has(row.old.name));
  const count = (verdict) => rows.filter((row) => row.verdict === verdict).length;
  const regressions = rows.filter((row) => isRegression(row, limit)).length;
  byId('compare-summary').textContent = before === after ? 'The same run twice: choose two.'
    : `${rows.length} cases in both: ${regressions} regressions, ${count('slower')} slower, ${count('faster')} faster, ` +
      `${count('same')} without a difference beyond noise` +
      (count('too few repetitions') ? `, ${count('too few repetitions')} with too few repetitions to tell.` : '.');
  const shown = byId('compare-only').checked ? rows.filter((row) => ['slower', 'faster', 'failed'].includes(row.verdict)) : rows;
  fillTable(byId('compare-table'), compareColumns(limit), shown, orders.compare, (row) => (isRegression(row, limit) ? 'bad-row' : ''));
}

function show() {
  const cases = chosenCases();
  byId('count').textContent = `${cases.length} of ${casesOfChosenRun().length} cases`;
  showSpeedup(cases);
  drawRoofline(cases, `${cases.length} cases`);
  showHistory(cases);
  showComparison(cases);
  fillTable(byId('cases-table'), CASE_COLUMNS, cases, orders.cases);
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
  byId('theme').setAttribute('aria-label', `Switch to the ${name === 'dark' ? 'light' : 'dark'} theme`);
}

function start() {
  setTheme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  fillTable(byId('runs-table'), RUN_COLUMNS, runs, null);
  const numbered = runs.map((run, index) => [String(index), run.label]);
  fillSelect(byId('filter-run'), [['latest', 'latest of each case'], ...numbered]);
  for (const which of ['old', 'new']) fillSelect(byId(`compare-${which}`), numbered);
  byId('compare-old').value = String(Math.max(0, runs.length - 2));
  byId('compare-new').value = String(runs.length - 1);
  byId('compare-section').hidden = byId('history-section').hidden = runs.length < 2;
  showFilters();
  show();
  byId('theme').addEventListener('click', () => {
    setTheme(theme() === 'dark' ? 'light' : 'dark');
    show();
  });
  byId('filter-run').addEventListener('change', showFilters);
  const filters = byId('filters');
  filters.addEventListener('submit', (event) => event.preventDefault());
  filters.addEventListener('reset', () => setTimeout(() => { showFilters(); show(); }));
  for (const control of document.querySelectorAll('select, input')) {
    control.addEventListener(control.type === 'search' || control.type === 'number' ? 'input' : 'change', show);
  }
}

start();
