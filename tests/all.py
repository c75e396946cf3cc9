"""Runs every part of the test suite and counts what each really ran (script/test calls this).

The parts stand in two lanes that run side by side: one on the plain build, one on the build with
sanitizers. A part that dies without a report counts as one failure, so nothing fails in silence.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build-test"
LIMIT = 900  # seconds a part may take
PYTEST = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
printing = threading.Lock()


stopped = threading.Event()


def end(process):
    """Asks a part to end, so that it can clean up, and then makes it and all it started."""
    for _ in range(3):  # a test may swallow the first one
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=10)[0]
        except subprocess.TimeoutExpired:
            pass
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[0]


def run(command, **env):
    """Runs to the end, to the limit, or until we are stopped; returns the code and what was said."""
    process = subprocess.Popen(
        [str(word) for word in command], cwd=ROOT, env=os.environ | env, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True)
    deadline = time.monotonic() + LIMIT
    while not stopped.is_set() and time.monotonic() < deadline:
        try:
            printed, _ = process.communicate(timeout=1)
            return process.returncode, printed
        except subprocess.TimeoutExpired:
            pass
    why = "stopped" if stopped.is_set() else f"took longer than {LIMIT} s"
    return 1, f"{end(process)}\n{why}\n"


def one(command, **env):
    """A command that is one test: it passes, or it does not."""
    code, printed = run(command, **env)
    return int(code == 0), int(code != 0), printed


def count_junit(code, printed, report):
    """Counts the cases of a JUnit report; no report, or a failure without a failed case, counts."""
    passed = failed = 0
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is None:
                passed += 1
    if (code != 0 and failed == 0) or passed + failed == 0:
        failed += 1
    return passed, failed, printed


BUILDS = {
    "gcc": ({"CC": "gcc"}, []),
    "clang": ({"CC": "clang"}, []),
    "sanitizers": ({"CC": "gcc"}, ["-Db_sanitize=address,undefined", "-Db_lundef=false"]),
}


def build(name):
    directory = OUT / name
    env, options = BUILDS[name]
    code, printed = 0, ""
    if not (directory / "build.ninja").exists():
        code, printed = run(["meson", "setup", directory, "--werror", "-Dtests=enabled", *options], **env)
    if code == 0:
        code, more = run(["ninja", "-C", directory])
        printed += more
    return int(code == 0), int(code != 0), printed


def on_build(part):
    """A part that needs a build: makes sure that it is there and up to date."""
    def with_build(name, *rest):
        built = build(name)
        return part(name, *rest) if built[0] else built
    return with_build


@on_build
def unit(name):
    report = OUT / name / "meson-logs" / "testlog.junit.xml"
    report.unlink(missing_ok=True)
    code, printed = run(["meson", "test", "-C", OUT / name, "--print-errorlogs", "--num-processes", "2"],
                        ASAN_OPTIONS="abort_on_error=0", UBSAN_OPTIONS="halt_on_error=1")
    return count_junit(code, printed, report)


@on_build
def pytest(name, folder):
    report = OUT / f"{folder}-{name}.xml"
    report.unlink(missing_ok=True)
    code, printed = run([*PYTEST, f"--junit-xml={report}", ROOT / "tests" / folder],
                        PGCAST_BIN=str(OUT / name / "pgcast"))
    return count_junit(code, printed, report)


def sql():
    """The SQL tests count themselves; their last line says what they counted."""
    code, printed = run([ROOT / "tests/sql/run"])
    summary = re.search(r"^(\d+) passed, (\d+) failed\s*\Z", printed, re.M)
    passed, failed = (int(n) for n in summary.groups()) if summary else (0, 0)
    if (code != 0 and failed == 0) or passed + failed == 0:
        failed += 1
    return passed, failed, printed


LANES = [
    [("build gcc", lambda: build("gcc")),
     ("unit gcc", lambda: unit("gcc")),
     ("build clang", lambda: build("clang")),
     ("layers", lambda: one([ROOT / "tests/layers"])),
     ("lint", lambda: one([ROOT / "script/lint"])),
     ("sql", sql),
     ("browser", lambda: pytest("gcc", "browser")),
     ("load", lambda: pytest("gcc", "load"))],
    [("build sanitizers", lambda: build("sanitizers")),
     ("unit sanitizers", lambda: unit("sanitizers")),
     ("e2e sanitizers", lambda: pytest("sanitizers", "e2e")),
     ("fault", lambda: pytest("gcc", "fault"))],
]


def walk(lane, chosen, totals):
    for name, part in lane:
        if chosen and not any(word in name for word in chosen):
            continue
        if stopped.is_set():
            return
        began = time.monotonic()
        try:
            passed, failed, printed = part()
        except Exception as error:  # the part itself is broken: that is a failure, too
            passed, failed, printed = 0, 1, f"{type(error).__name__}: {error}\n"
        with printing:
            if failed:
                print(printed)
            print(f"{name}: {passed} passed, {failed} failed ({time.monotonic() - began:.0f} s)",
                  flush=True)
            totals[0] += passed
            totals[1] += failed


def main(chosen):
    if chosen == ["--list"]:
        print("\n".join(name for lane in LANES for name, _ in lane))
        return 0
    OUT.mkdir(exist_ok=True)
    totals = [0, 0]
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: stopped.set())
    threads = [threading.Thread(target=walk, args=(lane, chosen, totals)) for lane in LANES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{totals[0]} passed, {totals[1]} failed")
    return int(totals[1] > 0 or totals[0] == 0 or stopped.is_set())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
