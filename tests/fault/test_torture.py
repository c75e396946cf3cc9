"""Short runs of the torture; script/torture makes long ones."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from harness import ROOT

TORTURE = Path(__file__).parent / "torture.py"


def torture(folder, *words):
    """Returns the exit code and the report."""
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, TORTURE, "--json", report, "--log", folder / "log", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests/support")}, text=True,
        capture_output=True)
    print(done.stdout[-10000:], done.stderr[-10000:])
    if done.returncode:
        print((folder / "log").read_text()[-10000:] if (folder / "log").exists() else "no log")
    return done.returncode, json.loads(report.read_text())


def test_torture_with_fixed_seed(folder):
    code, report = torture(folder, "--minutes", 0.3, "--mean", 1, "--seed", 1,
                           "--size", 0.05)
    assert code == 0 and report["events"] > 1000 and report["resumes"] > 10


def test_torture_with_random_seed_and_standby(folder):
    code, report = torture(folder, "--minutes", 0.3, "--mean", 1, "--seed", random.randrange(10**6),
                           "--poll", "--standby", "--size", 0.05, "--encoding", "LATIN1")
    assert code == 0 and report["events"] > 1000 and report["resumes"] > 10


def test_torture_with_asynchronous_commits(folder):
    code, report = torture(folder, "--minutes", 0.2, "--mean", 1, "--seed", 2, "--asynchronous",
                           "--size", 0)
    assert code == 0 and report["events"] > 500


def test_torture_detects_each_kind_of_mistake(folder):
    code, report = torture(folder, "--minutes", 0.25, "--seed", 3, "--faultless", "--sabotage",
                           "--size", 0)
    assert code == 1
    wrong = {kind: report[kind] for kind in ("lost", "duplicated", "misordered", "unknown")}
    assert wrong == {"lost": 2, "duplicated": 1, "misordered": 1,
                     "unknown": 1}  # an altered one is lost and unknown
