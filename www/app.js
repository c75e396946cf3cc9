// The live log of one uid: its rows of the table `log`, kept up to date by the changes received.
//
// On each (re)connection the page requests the newest rows again, so it needs no cursor: the answer
// replaces the rows on the page, and later changes follow on the same socket.

const MAX_PAUSE = 10_000; // ms between attempts
const MAX_ROWS = 500;
const REFUSED = new Set([4400, 4401, 4403]); // final: no reconnection

const $ = (id) => document.getElementById(id);
const time = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'medium' });

let uid = decodeURIComponent(location.hash.slice(1)) || 'alice';
let socket;
let attempts = 0;
let timer;
let changes = 0;
const shown = new Map(); // a row's id -> its <tr>

function setState(state, text = state) {
    $('state').dataset.state = state;
    $('state').textContent = text;
}

function cells(row) {
    const texts = [time.format(new Date(row.created_at)), row.action, row.address ?? '',
        row.detail === null ? '' : JSON.stringify(row.detail), row.id];
    return texts.map((text, column) => {
        const td = document.createElement('td');
        td.textContent = text;
        if (column === 4) td.className = 'number';
        return td;
    });
}

// Restarts the highlight, even while the last one is running.
function mark(tr, op) {
    tr.classList.remove('insert', 'update');
    void tr.offsetWidth;
    tr.classList.add(op);
}

function put(row, op) {
    let tr = shown.get(row.id);
    if (!tr) {
        tr = document.createElement('tr');
        shown.set(row.id, tr);
        $('rows').prepend(tr);
    }
    tr.replaceChildren(...cells(row));
    if (op) mark(tr, op);
}

function drop(id) {
    shown.get(id)?.remove();
    shown.delete(id);
}

function clear() {
    shown.clear();
    $('rows').replaceChildren();
}

const apply = {
    init(rows) {
        clear();
        rows.forEach((row) => put(row));
    },
    insert: (row) => put(row, 'insert'),
    update(row, old) {
        if (old.id !== row.id) drop(old.id);
        put(row, 'update');
    },
    delete: (row) => drop(row.id),
    truncate: clear,
};

function receive({ type, op, data, old }) {
    if (type !== 'log' || !apply[op]) return;
    apply[op](data, old);
    if (op !== 'init') changes += 1;
    while (shown.size > MAX_ROWS) drop(shown.keys().next().value);
    $('count').textContent = shown.size === 1 ? '1 row' : `${shown.size} rows`;
    $('changes').textContent = changes === 1 ? '1 change' : `${changes} changes`;
    $('empty').hidden = shown.size > 0;
}

function retry() {
    const pause = Math.min(MAX_PAUSE, 250 * 2 ** attempts) * (0.5 + Math.random() / 2);
    attempts += 1;
    setState('waiting', 'connection lost, trying again');
    timer = setTimeout(connect, pause);
}

function connect() {
    const address = new URL(`./?uid=${encodeURIComponent(uid)}`, location.href);
    address.hash = '';
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const mine = new WebSocket(address);
    socket = mine;
    setState('connecting');
    mine.onopen = () => {
        mine.send(JSON.stringify({ cmd: 'init', type: 'log' }));
    };
    mine.onmessage = (event) => {
        attempts = 0;
        setState('live');
        receive(JSON.parse(event.data));
    };
    mine.onclose = ({ code, reason }) => {
        if (socket !== mine) return;
        if (REFUSED.has(code)) setState('refused', reason || 'refused');
        else retry();
    };
}

function show(name) {
    clearTimeout(timer);
    const before = socket;
    socket = undefined;
    before?.close();
    uid = name;
    changes = 0;
    attempts = 0;
    clear();
    $('uid').value = uid;
    document.title = `Live log of ${uid} – pgcast`;
    connect();
}

$('choose').addEventListener('submit', (event) => {
    event.preventDefault();
    location.hash = encodeURIComponent($('uid').value);
});
addEventListener('hashchange', () => show(decodeURIComponent(location.hash.slice(1))));
show(uid);
