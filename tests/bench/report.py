"""Prints the results as a table, and writes them as JSON and as a picture."""

import json
import os
import platform
import statistics
import subprocess
import time

# Name, title, unit, whether more is better.
DELIVERY = [
    ("burst_rate", "burst, 1,000 clients of one uid", "deliveries/s", True),
    ("burst_cpu", "server's CPU, burst", "s per million deliveries", False),
    ("burst_load_cpu", "load client's CPU, burst", "s per million deliveries", False),
    ("unicast_rate", "unicast, 10,000 uids, statements of 100 rows", "deliveries/s", True),
    ("unicast_cpu", "server's CPU, unicast", "s per million deliveries", False),
    ("unicast_load_cpu", "load client's CPU, unicast", "s per million deliveries", False),
    ("endtoend_rate", "end to end, statements of 1,000 rows, one client", "events/s", True),
    ("endtoend_cpu", "server's CPU, end to end", "s per million events", False),
    ("endtoend_reader_cpu", "its backend's CPU, end to end", "s per million events", False),
    ("paced_p50", "50 rows/s to 1,000 clients, p50", "ms", False),
    ("paced_p99", "50 rows/s to 1,000 clients, p99", "ms", False),
    ("paced_cpu", "server's CPU, 50 rows/s", "s per million deliveries", False),
    ("latency_p50", "commit to client at rest, p50", "ms", False),
    ("latency_p99", "commit to client at rest, p99", "ms", False),
    ("brisk_p50", "commit to client, 400 rows/s, p50", "ms", False),
    ("brisk_p99", "commit to client, 400 rows/s, p99", "ms", False),
    ("connect_rate", "connecting 10,000", "connects/s", True),
    ("connection_rss", "memory per idle connection", "bytes", False),
    ("idle_cpu", "idle with 10,000 connected and pinged", "% of a core", False),
    *((f"loop_{name}_{n}", title.format(n=n, rows=rows), unit, False)
      for name, title, unit in (
          ("connect", "server's CPU, connecting {n:,}", "µs each"),
          ("close", "server's CPU, closing {n:,}", "µs each"),
          ("wake", "server's CPU, a row for one of {n:,} clients", "µs"),
          ("peak", "memory, {rows} rows to each of {n:,} clients, peak", "bytes per client"),
          ("kept", "memory, {rows} rows to each of {n:,} clients, afterwards", "bytes per client"))
      for n, rows in ((100, 100), (1000, 100), (10000, 10))),
    ("broadcast_rate", "200 rows to everyone, 15,000 clients of 15,000 uids", "deliveries/s", True),
    ("broadcast_cpu", "server's CPU, 200 rows to everyone", "s per million deliveries", False),
    ("broadcast_busy", "longest pass of the loop, and 200 rows to everyone", "ms", False),
    ("broadcast_connect_busy", "longest pass of the loop, connecting 15,000", "ms", False),
    ("large_rate", "10,000,000 rows in a transaction, for one client", "events/s", True),
    ("large_rest_p99", "others' messages, before, p99", "ms", False),
    ("large_others_p99", "others' messages, meanwhile, p99", "ms", False),
    ("large_others_max", "others' messages, meanwhile, max", "ms", False),
    *((f"questions_{name}_{n}", f"{title}, {n:,} asking", "ms", False)
      for n in (1, 2000)
      for name, title in (("rest_p99", "others, before, p99"),
                          ("others_p99", "others, meanwhile, p99"),
                          ("others_max", "others, meanwhile, max"))),
    *((f"far_{name}_{n}", f"{title}, {what}", unit, False)
      for n, what in ((3000, "3,000 clients resume, 10 events each"),
                      (10000, "10,000 clients resume, 10 events each"),
                      ("news", "20 clients resume, 2,000,000 broadcasts"))
      for name, title, unit in (("time", "until all have them", "s"),
                                ("rest_p99", "others, before, p99", "ms"),
                                ("others_p99", "others, meanwhile, p99", "ms"),
                                ("others_max", "others, meanwhile, max", "ms"))),
    ("large_memory", "server's memory, meanwhile, peak", "MiB", False),
    ("large_reader_memory", "its backend's memory, meanwhile, peak", "MiB", False),
    ("burst_instructions", "instructions, burst", "per delivery", False),
    ("paced_instructions", "instructions, one row to 1,000 clients", "per delivery", False),
    ("unicast_instructions", "instructions, unicast", "per delivery", False),
]

WRITING = [
    *((f"tps_{flush}_{n}", f"{n} writer{'s' if n > 1 else ''}, {title}", "transactions/s", True)
      for flush, title in (("disk", "fsync on"), ("2ms", "a flush takes 2 ms"),
                           ("10ms", "a flush takes 10 ms"))
      for n in (1, 8, 16, 32)),
    ("single_time", "INSERT of one row", "ms", False),
    ("single_cpu", "backend's CPU, INSERT of one row", "µs", False),
    ("insert_time", "INSERT of 1,000 rows", "ms", False),
    ("insert_cpu", "backend's CPU, INSERT of 1,000 rows", "ms", False),
    ("copy_time", "COPY of 10,000 rows", "ms", False),
    ("copy_cpu", "backend's CPU, COPY of 10,000 rows", "ms", False),
    *((f"{kind}_{used}_cpu", f"backend's CPU, {kind.upper()} of 10,000 rows, {title}", "ms", False)
      for kind in ("insert", "update", "delete")
      for used, title in (("new", "new session"), ("used", "session that changed a row before"))),
]

METRICS = DELIVERY + WRITING

TITLES = {"pgcast": "pgcast", "floor": "bare epoll loop", "node": "Node ws", "nchan": "nchan",
          "python": "Python websockets", "none": "no trigger", "notify": "NOTIFY of the row"}
COLORS = {"pgcast": "#2f6fb0", "floor": "#9a9a9a", "node": "#5fa04e", "nchan": "#b07a2f",
          "python": "#c9a227", "none": "#9a9a9a", "notify": "#b0472f"}


def number(value):
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def medians(results, name):
    return {who: statistics.median(values) for who, values in results.get(name, {}).items()}


def lines_of(results, metrics, who):
    """Rows of a table: title, unit, and each competitor's median and ratio to pgcast's."""
    for name, title, unit, _ in metrics:
        found = medians(results, name)
        if not found:
            continue
        ours = found.get("pgcast")
        cells = []
        for one in who:
            if one not in found:
                cells.append("–")
            elif one == "pgcast" or not ours or ours < 0 or found[one] < 0:
                cells.append(number(found[one]))
            else:
                cells.append(f"{number(found[one])} ({number(found[one] / ours)}×)")
        yield [title, unit, *cells]


def table(results, metrics, who):
    seen = {one for name, *_ in metrics for one in results.get(name, ())}
    who = [one for one in who if one in seen]
    rows = list(lines_of(results, metrics, who))
    if not rows:
        return ""
    rows = [["", "unit", *(TITLES[one] for one in who)], ["---"] * (len(who) + 2), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |\n"
                   for row in rows) + "\n"


def tables(results):
    return (table(results, DELIVERY, ["pgcast", "floor", "node", "nchan", "python"])
            + table(results, WRITING, ["pgcast", "none", "notify"]))


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(),
            "kernel": platform.release(), "load_average": os.getloadavg()[2]}


def revision():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], text=True,
                          capture_output=True)
    return done.stdout.strip() or None


# ---- the picture ----

BAR, GAP, LEFT, WIDE = 14, 30, 190, 420


def text(x, y, words, anchor="start", weight="normal"):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return (f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{words}</text>\n')


def bars(y, title, unit, more, found):
    """A group of bars, as long as the values are to the largest one."""
    out = text(10, y, f"{title} ({unit}, {'more' if more else 'less'} is better)", weight="bold")
    maximum = max(found.values()) or 1
    for one, value in found.items():
        y += BAR + 4
        width = max(1, value / maximum * WIDE)
        out += text(LEFT - 8, y, TITLES[one], "end")
        out += (f'<rect x="{LEFT}" y="{y - BAR + 3}" width="{width:.1f}" height="{BAR}"'
                f' fill="{COLORS[one]}"/>\n')
        out += text(LEFT + width + 6, y, number(value))
    return out, y + GAP


def picture(results):
    y, body = 24, ""
    for name, title, unit, more in METRICS:
        found = medians(results, name)
        if len(found) > 1:
            group, y = bars(y, title, unit, more, found)
            body += group
    width = LEFT + WIDE + 90
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}"'
            f' font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n{body}</svg>\n')


def write(bench, folder):
    if not bench.results:
        return
    results = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "revision": revision(),
               "machine": machine(), "rounds": bench.options.rounds,
               "small": bench.options.small, "rounds_with_losses": bench.lost,
               "metrics": {name: {who: {"median": statistics.median(values), "all": values}
                                  for who, values in found.items()}
                           for name, found in bench.results.items()}}
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "bench.md").write_text(tables(bench.results))
    (folder / "bench.svg").write_text(picture(bench.results))
    for name, times in bench.lost.items():
        for who, n in times.items():
            print(f"{name}: {TITLES[who]} lost rows in {n} of {bench.options.rounds} rounds")
    print("\n" + tables(bench.results) + f"in {folder}: bench.json, bench.md, bench.svg")
