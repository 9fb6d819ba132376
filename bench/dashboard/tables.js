// Tables. Text goes in as text nodes alone: whatever a name holds, it stays text.
'use strict';

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

// columns: {title, text: row -> string, value: row -> what it is sorted by, isText, className: row -> string}.
// `order` is kept between redraws: {column, descending}; without one the rows stay as they are.
function fillTable(table, columns, rows, order, rowClass = () => '') {
  const sorted = [...rows];
  if (order && order.column !== null) {
    const value = columns[order.column].value ?? columns[order.column].text;
    const compare = (a, b) => {
      if (typeof a === 'string' && typeof b === 'string') return byNumberOrText(a, b);
      const [x, y] = [Number.isFinite(a) ? a : -Infinity, Number.isFinite(b) ? b : -Infinity];
      return x < y ? -1 : Number(x > y);
    };
    sorted.sort((a, b) => compare(value(a), value(b)) * (order.descending ? -1 : 1));
  }
  const head = element('tr');
  columns.forEach((column, index) => {
    const cell = element('th', {scope: 'col', className: column.isText ? 'text' : ''});
    if (order) {
      const isSorted = order.column === index;
      if (isSorted) cell.setAttribute('aria-sort', order.descending ? 'descending' : 'ascending');
      cell.append(element('button', {type: 'button', textContent: column.title, onclick: () => {
        Object.assign(order, {column: index, descending: isSorted && !order.descending});
        fillTable(table, columns, rows, order, rowClass);
        table.querySelectorAll('th button')[index].focus();
      }}));
    } else {
      cell.textContent = column.title;
    }
    head.append(cell);
  });
  const body = element('tbody');
  for (const row of sorted) {
    const line = element('tr', {className: rowClass(row)});
    for (const column of columns) {
      const kind = [column.isText && 'text', column.className?.(row)].filter(Boolean).join(' ');
      line.append(element('td', {textContent: column.text(row), className: kind}));
    }
    body.append(line);
  }
  table.replaceChildren(element('thead', {}, head), body);
}

const number = (key, title, shown) => ({
  title,
  value: (one) => valueOf(one, key)?.median,
  text: (one) => {
    const value = valueOf(one, key);
    return value ? shown(value) : one.error && key === 'seconds' ? `failed: ${one.error}` : '-';
  },
});

function half(value) {  // of the interval, as a share of the median
  return value.low < value.high ? ` ±${shortNumber((value.high - value.low) / 2 / value.median * 100)}%` : '';
}

const CASE_COLUMNS = [
  {title: 'operation', isText: true, text: (one) => [one.op, one.more].filter(Boolean).join(' ')},
  {title: 'type', isText: true, text: (one) => one.type},
  {title: 'isa', isText: true, text: (one) => one.isa},
  {title: 'out x in', text: (one) => one.shape},
  {title: 'rows', value: (one) => Number(one.n), text: (one) => one.n},
  {title: 'zeros', value: (one) => one.sparsity, text: (one) => (Number.isFinite(one.sparsity) ? `${one.sparsity}%` : '-')},
  number('seconds', 'time', (value) => inTime(value.median) + half(value)),
  {...number('speedup', 'speed-up', (value) => shortNumber(value.median) + half(value)),
    className: (one) => (valueOf(one, 'speedup')?.high < 1 ? 'bad' : '')},
  number('roofline', 'of the limit', (value) => `${shortNumber(value.median * 100)}%`),
  number('GFLOP/s', 'GFLOP/s', (value) => shortNumber(value.median)),
  number('GB/s', 'GB/s', (value) => shortNumber(value.median)),
  {title: 'repetitions', value: (one) => one.repetitions, text: (one) => String(one.repetitions)},
  {title: 'kernel', isText: true, text: (one) => one.label},
  {title: 'run', isText: true, text: (one) => one.run.label},
];

const RUN_COLUMNS = [
  {title: 'run', isText: true, text: (run) => run.label},
  {title: 'file', isText: true, text: (run) => run.file},
  {title: 'device', isText: true, text: (run) => run.device || '-'},
  ...[['isa', 'isa'], ['threads', 'threads'], ['compiler', 'compiler'], ['build_type', 'build']].map(([key, title]) => (
    {title, isText: true, text: (run) => run.context[key] ?? '-'})),
  {title: 'peers', isText: true, text: (run) => ['onednn', 'openblas', 'libxsmm', 'eigen', 'cublaslt', 'cuda_runtime']
    .filter((key) => run.context[key]).map((key) => `${key} ${run.context[key]}`).join(', ') || '-'},
  {title: 'cases', text: (run) => String(run.cases.length)},
];

function compareColumns(limit) {
  const isMeasured = (row) => row.verdict !== 'failed';
  const marks = {slower: '▼ slower', faster: '▲ faster', failed: '✕ fails now'};
  return [
    {title: 'beyond noise', isText: true, value: (row) => row.verdict,
      text: (row) => (marks[row.verdict] ?? row.verdict) + (isRegression(row, limit) ? ', regression' : ''),
      className: (row) => (isRegression(row, limit) ? 'bad' : row.verdict === 'faster' ? 'good' : '')},
    {title: 'ratio', value: (row) => row.ratio, text: (row) => (isMeasured(row) ? row.ratio.toFixed(3) : '-')},
    {title: '99% interval', value: (row) => row.low,
      text: (row) => (Number.isFinite(row.high) ? `${row.low.toFixed(3)} to ${row.high.toFixed(3)}` : '-')},
    {title: 'old', value: (row) => row.old.seconds[0], text: (row) => inTime(row.old.seconds[0])},
    {title: 'new', value: (row) => row.now.seconds?.[0], text: (row) => (isMeasured(row) ? inTime(row.now.seconds[0]) : '-')},
    {title: 'case', isText: true, text: (row) => shortName(row.old.name)},
  ];
}
