"""Runs the suites of meson on the builds that they need, and counts their cases, for script/test.

The parts stand in two lanes, which run side by side. A part without a report counts as a failure.
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

OUT = Path(__file__).resolve().parent.parent / "build-test"
BUILDS = {
    "gcc": ["gcc"],
    "clang": ["clang"],
    "sanitizers": ["gcc", "-Db_sanitize=address,undefined", "-Db_lundef=false"],
}
LANES = [
    ["build gcc", "unit gcc", "build clang", "lint gcc", "sql gcc", "sql-13 gcc", "sql-18 gcc",
     "browser gcc", "load gcc"],
    ["build sanitizers", "unit sanitizers", "e2e sanitizers", "e2e-13 gcc", "e2e-18 gcc",
     "fault gcc"],
]
stopping = threading.Event()
printing = threading.Lock()


def run(*command, **env):
    """Returns the output and the exit code; a signal to this program ends the command."""
    process = subprocess.Popen(
        command, cwd=OUT.parent, env=os.environ | env, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while True:
        try:
            return process.communicate(timeout=1)[0], process.returncode
        except subprocess.TimeoutExpired:
            if stopping.is_set():
                process.terminate()


def build(name):
    compiler, *options = BUILDS[name]
    if not (OUT / name / "build.ninja").exists():
        output, code = run("meson", "setup", OUT / name, "--werror", "-Dtests=enabled",
                           *options, CC=compiler)
        if code:
            return output, code
    return run("ninja", "-C", OUT / name)


def count(logs):
    """The cases that passed and failed, from the last line of the output or the JUnit report."""
    if summary := re.search(r"^(\d+) passed, (\d+) failed$", logs[0].read_text(), re.M):
        return map(int, summary.groups())
    kinds = [{child.tag for child in case} & {"failure", "error", "skipped"}
             for case in ElementTree.parse(logs[1]).iter("testcase")]
    return kinds.count(set()), len([kind for kind in kinds if kind & {"failure", "error"}])


def part(suite, name):
    """Returns the output and how many cases passed and failed."""
    output, code = build(name)
    if code or suite == "build":
        return output, int(not code), int(bool(code))
    logs = [OUT / name / f"meson-logs/{suite}{suffix}" for suffix in (".txt", ".junit.xml")]
    for log in *logs, OUT / name / f"{suite}.xml":  # the last one is by pytest, for meson
        log.unlink(missing_ok=True)
    output, code = run("meson", "test", "-C", OUT / name, "--no-rebuild", "--print-errorlogs",
                       "--logbase", suite, "--suite", suite)
    passed, failed = count(logs) if all(log.exists() for log in logs) else (0, 0)
    return output, passed, max(failed, int(bool(code) or not passed))


def walk(lane, words, totals):
    for name in lane:
        if stopping.is_set() or not any(word in name for word in words):
            continue
        began = time.monotonic()
        try:
            output, passed, failed = part(*name.split())
        except Exception as error:  # a defect of this program
            output, passed, failed = repr(error), 0, 1
        with printing:
            print(output if failed else "", end="")
            print(f"{name}: {passed} passed, {failed} failed",
                  f"({time.monotonic() - began:.0f} s)", flush=True)
            totals[0] += passed
            totals[1] += failed


def main(words):
    if words == ["--list"]:
        print("\n".join(sum(LANES, [])))
        return 0
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: stopping.set())
    totals = [0, 0]
    threads = [threading.Thread(target=walk, args=(lane, words or [""], totals)) for lane in LANES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{totals[0]} passed, {totals[1]} failed")
    return int(totals[1] > 0 or totals[0] == 0 or stopping.is_set())


sys.exit(main(sys.argv[1:]))
