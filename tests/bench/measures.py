"""The measures. Each takes the bench and one competitor, and returns figures by name."""

import contextlib
import random
import re
import statistics
import subprocess
import time

from load import Load
from servers import (
    BUILD,
    Pgcast,
    Rows,
    cpu_us,
    descriptors,
    now_us,
    reset_peak,
    rss_bytes,
    session,
    settle,
    wait_for,
)

TIMEOUT = 60  # seconds


def figures_of(saw, began, cpu, events=None):
    """Rate and cost of the deliveries; a delivery is one row at one client."""
    received = saw["received"]
    return {"rate": (events or received) / (saw["last_us"] - began) * 1e6,
            "cpu": cpu / received,  # microseconds each, which is seconds per million
            "load_cpu": saw["cpu_us"] / received}


def deliver(server, load, write, events):
    """Lets rows be written, and weighs the server until each client has `events` of them."""
    load.expect(events, TIMEOUT)
    before = cpu_us(server.pids)
    began = write()
    saw = load.result()
    return saw, began, cpu_us(server.pids) - before


def burst(bench, start):
    """1,000 rows in one transaction, all for the one uid that all clients have; again, up to five
    times, where that is a matter of milliseconds."""
    clients, rows = bench.size(1000, 50), bench.size(1000, 200)
    got, spent = [], 0
    with session(start, clients, 1) as (server, load, writer):
        while len(got) < 5 and spent < 1:
            first = len(got) * rows + 1
            batches = [(0, 1, n, 100) for n in range(first, first + rows, 100)]
            got.append(figures_of(*deliver(server, load, lambda: writer.burst(batches), rows)))
            spent += clients * rows / got[-1]["rate"]
    return {f"burst_{key}": statistics.median(one[key] for one in got) for key in got[0]}


def paced(bench, start):
    """50 rows a second for a uid that 1,000 clients have."""
    clients, rows = bench.size(1000, 50), bench.size(300, 50)
    with session(start, clients, 1) as (server, load, writer):

        def write():
            began = time.monotonic()
            for n in range(rows):
                time.sleep(max(0, began + n / 50 - time.monotonic()))
                writer.stream([(0, 1, n + 1, 1)])
            return 0

        saw, _, cpu = deliver(server, load, write, rows)
    return {"paced_p50": saw["p50_us"] / 1000, "paced_p99": saw["p99_us"] / 1000,
            "paced_cpu": cpu / saw["received"]}


def unicast(bench, start):
    """10,000 uids with a client each; a sequence of statements of 100 rows for 100 of them."""
    uids, each = bench.size(10000, 200), 3
    with session(start, uids, uids) as (server, load, writer):
        batches = [(uid, 100, n, 1) for n in range(1, each + 1) for uid in range(0, uids, 100)]
        saw, began, cpu = deliver(server, load, lambda: writer.stream(batches), each)
        got = figures_of(saw, began, cpu)
        connected = load.connected
    return {"connect_rate": connected["connected"] / connected["seconds"],
            "connection_rss": connected["rss"] / connected["connected"],
            **{f"unicast_{key}": value for key, value in got.items()}}


def idle(bench, starts):
    """All competitors at once, since they have little to do: 10,000 clients each, which are
    pinged, and nothing else, for one round of pings."""
    clients = bench.size(10000, 200)
    with contextlib.ExitStack() as sessions:
        servers = {who: sessions.enter_context(session(start, clients, clients))[0]
                   for who, start in starts.items()}
        time.sleep(bench.size(5, 1))  # connecting has its aftermath
        began = now_us()
        before = {who: cpu_us(server.pids) for who, server in servers.items()}
        time.sleep(bench.size(25, 2))
        return {who: {"idle_cpu": (cpu_us(server.pids) - before[who]) / (now_us() - began) * 100}
                for who, server in servers.items()}


def latency(bench, start):
    """Single rows at rest, and 400 a second, from the commit timestamp to the last byte of the
    message."""
    rows, figures = bench.size(300, 50), {}
    with session(start, 1, 1) as (_, load, writer):
        for first, name, ms in (1, "latency", 20), (1 + rows, "brisk", 2.5):
            load.expect(rows, TIMEOUT, verb="arrivals")
            began = now_us()
            for n in range(first, first + rows):
                time.sleep(random.uniform(0.75, 1.25) * ms / 1000)
                writer.stream([(0, 1, n, 1)])
            came = load.result()["arrivals"]
            late = sorted((there - here) / 1000
                          for there, here in zip(came, writer.committed(began)))
            figures |= {f"{name}_p50": statistics.median(late),
                        f"{name}_p99": late[int(rows * 0.99)]}
    return figures


def endtoend(bench, start):
    """One client, and statements of 1,000 rows for it, one after the other."""
    statements = bench.size(100, 3)
    with session(start, 1, 1) as (server, load, writer):
        batches = [(0, 1, 1 + 1000 * n, 1000) for n in range(statements)]
        readers = writer.readers()
        before = cpu_us(readers)
        saw, began, cpu = deliver(
            server, load, lambda: writer.stream(batches), 1000 * statements)
        got = figures_of(saw, began, cpu)
        reading = (cpu_us(readers) - before) / saw["received"]
    return {"endtoend_rate": got["rate"], "endtoend_cpu": got["cpu"],
            **({"endtoend_reader_cpu": reading} if readers else {})}


# ---- the event loop ----


def weigh(server, run):
    """The processor time of run(), including later work of the server, and its result."""
    before = cpu_us(server.pids)
    result = run()
    settle(server, TIMEOUT)
    return cpu_us(server.pids) - before, result


def wake(server, load, writer, rows):
    """Single rows for one of the clients, each awaited; the server's processor time for each."""
    before = cpu_us(server.pids)
    for n in range(1, rows + 1):
        load.expect(1, TIMEOUT, verb="first")
        writer.stream([(0, 1, n, 1)])
        load.result()
    return (cpu_us(server.pids) - before) / rows


def flood(server, load, writer, clients, first, each):
    """A transaction with `each` rows for each client; the memory that the server takes at most, and
    keeps. The first client has had rows already, so its numbers differ from the others'."""
    uids = 1000 // each  # in a statement of 1,000 rows
    batches = [(0, 1, first, each),
               *((uid, min(uids, clients - uid), 1, each) for uid in range(1, clients, uids))]
    reset_peak(server)
    before = rss_bytes(server)
    load.expect(each, TIMEOUT)
    writer.burst(batches)
    load.result()
    peak = rss_bytes(server, "VmHWM")
    settle(server, TIMEOUT)
    return peak - before, rss_bytes(server) - before


def leave(server, load, left):
    """All clients at once; until the server has no more open descriptors than before they came."""
    load.stop()
    wait_for(lambda: descriptors(server) <= left, "the server to notice", TIMEOUT)


def loop_of(start, clients, rows, each):
    # The first clients pay for work that a server does only once.
    with session(start, 100, 100) as (server, first, writer):
        first.stop()
        settle(server, TIMEOUT)
        empty = descriptors(server)
        connect, load = weigh(server, lambda: Load(server.port, clients, clients))
        try:
            woken = wake(server, load, writer, rows)
            peak, kept = flood(server, load, writer, clients, rows + 1, each)
            close, _ = weigh(server, lambda: leave(server, load, empty))
        finally:
            load.stop()
    return {"loop_connect": connect / clients, "loop_close": close / clients, "loop_wake": woken,
            "loop_peak": peak / clients, "loop_kept": kept / clients}


def loop(bench, start):
    """The cost of a connection that opens, is written to and closes, by their number. 10,000 get
    fewer rows each, since a million rows would take too long."""
    rows = bench.size(200, 20)
    return {f"{name}_{n}": value for n, each in ((100, 100), (1000, 100), (10000, 10))
            for name, value in loop_of(start, bench.size(n, n // 50), rows, each).items()}


# ---- cost for writers ----


def tps(bench, database, way, clients):
    table = f"log_{way}"
    script = BUILD / f"{table}.pgbench"
    script.write_text("\\set uid random(1, 1000)\n"
                      f"insert into {table} (uid, detail)"
                      f" values ('u' || :uid, '{{\"page\": \"{'x' * 40}\"}}');\n")
    database.execute("checkpoint")  # so that all begin with nothing left to be written
    said = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "2",
         "-T", str(bench.size(3, 1)), "-f", script, database.conninfo()],
        check=True, text=True, capture_output=True).stdout
    return float(re.search(r"tps = ([\d.]+)", said)[1])


def writers(bench, database, way, flush):
    return {f"tps_{flush}_{clients}": tps(bench, database, way, clients)
            for clients in (1, 8, 16, 32)}


def bulk(bench, database, way, _):
    """The cost of statements: duration, and processor time, which does not depend on other load."""
    table = f"tick_{way}"
    with database.connect() as connection:
        backend = [connection.info.backend_pid]

        def cost(n, run):
            """Of n times: the median, and the processor time of each, in milliseconds."""
            run()
            took, before = [], cpu_us(backend)
            for _ in range(n):
                began = now_us()
                run()
                took.append((now_us() - began) / 1000)
            return statistics.median(took), (cpu_us(backend) - before) / n / 1000

        def insert(rows):
            connection.execute(f"insert into {table} select 'u1', n, 1, %s"
                               " from generate_series(1, %s::int) n", ("x" * 50, rows),
                               prepare=True)

        def copy():
            # All different: of equal NOTIFYs PostgreSQL keeps one.
            rows = "".join(f"u1\t{n}\t1\t{'x' * 50}\n" for n in range(10000))
            with connection.cursor() as cursor, cursor.copy(f"copy {table} from stdin") as copying:
                copying.write(rows)

        def single():
            connection.execute(f"insert into {table} values ('u1', 1, 1, %s)", ("x" * 50,),
                               prepare=True)

        one = cost(bench.size(1000, 50), single)
        thousand = cost(bench.size(20, 2), lambda: insert(1000))
        copied = cost(bench.size(5, 1), copy)
    return {"single_time": one[0], "single_cpu": one[1] * 1000,
            "insert_time": thousand[0], "insert_cpu": thousand[1],
            "copy_time": copied[0], "copy_cpu": copied[1], **sessions(bench, database, way)}


CHANGES = {"insert": "insert into {table} select n, 'u1', 1, repeat('x', 50)"
                     " from generate_series({first}, {last}) n",
           "update": "update {table} set n = n + 1 where id between {first} and {last}",
           "delete": "delete from {table} where id between {first} and {last}"}


def sessions(bench, database, way):
    """The processor time of statements of 10,000 rows in a new session, and in one that changed a
    single row before, in milliseconds."""
    if way == "notify":  # its trigger is for INSERT alone
        return {}
    table, rows, times = f"big_{way}", bench.size(10000, 500), bench.size(5, 1)
    took = {}
    for _ in range(times):
        for used in "new", "used":
            for kind, statement in CHANGES.items():
                with database.connect() as connection:
                    if used == "used":
                        for one in CHANGES.values():
                            connection.execute(one.format(table=table, first=0, last=0))
                    backend = [connection.info.backend_pid]
                    before = cpu_us(backend)
                    connection.execute(statement.format(table=table, first=1, last=rows))
                    took.setdefault(f"{kind}_{used}", []).append((cpu_us(backend) - before) / 1000)
    return {f"{name}_cpu": statistics.median(values) for name, values in took.items()}


# ---- broadcasts ----


def broadcast(bench):
    """An INSERT of 200 rows into a table that is sent to everyone: clients with a uid each."""
    database, clients, rows = bench.database(), bench.size(15000, 200), 200
    with session(lambda: Pgcast(database), clients, clients) as (server, load, _):
        connected = server.bridge.metrics()["pgcast_loop_busy_max_seconds"]
        writer = Rows(database, "news_pgcast")
        saw, began, cpu = deliver(server, load, lambda: writer.stream([(0, 1, 1, rows)]), rows)
        writer.close()
        busy = server.bridge.metrics()["pgcast_loop_busy_max_seconds"]
    figures = figures_of(saw, began, cpu)
    return {"broadcast_rate": figures["rate"], "broadcast_cpu": figures["cpu"],
            "broadcast_connect_busy": connected * 1000, "broadcast_busy": busy * 1000}


# ---- stable figures ----


def control(server, *words):
    subprocess.run(["callgrind_control", *words, str(server.pids[0])], check=True,
                   capture_output=True)


def counted(bench, clients, uids, bursts, events):
    """Instructions of pgcast with libraries and without the kernel, per delivery of consecutive
    bursts with a number of events per uid."""
    out = BUILD / "callgrind.out"
    dump = BUILD / "callgrind.out.1"
    dump.unlink(missing_ok=True)
    server = Pgcast(bench.database(), through=[
        "valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no",
        f"--callgrind-out-file={out}"])
    received = 0
    try:
        load = Load(server.port, clients, uids)
        writer = server.writer()
        control(server, "-i", "on")
        for burst in bursts:
            load.expect(events, TIMEOUT)
            writer.burst(burst)
            received += load.result()["received"]
        control(server, "-d")
        writer.close()
        load.stop()
    finally:
        server.stop()
    return int(re.search(r"^totals: (\d+)", dump.read_text(), re.M)[1]) / received


def instructions(bench):
    clients, rows = bench.size(1000, 200), bench.size(1000, 200)
    at_once = [[(0, 1, n, 100) for n in range(1, rows, 100)]]
    one_by_one = [[(0, 1, n, 1)] for n in range(1, 11)]
    one_each = [[(uid, 100, 1, 1) for uid in range(0, clients, 100)]]
    return {
        "burst_instructions": counted(bench, clients, 1, at_once, rows),
        "paced_instructions": counted(bench, clients, 1, one_by_one, 1),
        "unicast_instructions": counted(bench, clients, clients, one_each, 1),
    }
