"""Fixtures of the tests that run the daemon; the classes behind them are in support/harness.py."""

import tempfile
from pathlib import Path

import pytest

from harness import Bridge, Cluster, Database, wait_for


def pytest_addoption(parser):
    """Takes the option with which meson asks tests of the protocol gtest for a JUnit report."""
    parser.addoption("--gtest_output", dest="xmlpath", type=lambda path: path.removeprefix("xml:"))


@pytest.fixture(scope="session")
def cluster():
    with Cluster("max_prepared_transactions=10") as made:
        yield made


@pytest.fixture(scope="session")
def template(cluster):
    """The name of a database with all of the SQL, from which the tests' databases are copied."""
    made = Database(cluster)
    made.install()
    return made.name


@pytest.fixture
def database(cluster, template):
    made = Database(cluster, template)
    yield made
    made.drop()


@pytest.fixture
def start():
    """Starts bridges, stops them after the test, and checks how each ended."""
    running = []

    def begin(*arguments, wait=True, **settings):
        bridge = Bridge(*arguments, **settings)
        running.append(bridge)
        if wait:
            wait_for(bridge.ready, "the bridge to be ready")
        return bridge

    yield begin
    codes = [bridge.stop() for bridge in running]
    for bridge, code in zip(running, codes, strict=True):
        log = "\n".join(bridge.log)
        assert "Sanitizer" not in log and "runtime error" not in log, log
        assert code == bridge.expected, f"ended with {code}:\n{log}"


@pytest.fixture
def bridge(start, database):
    return start(database)


@pytest.fixture
def folder():
    """A temporary folder with a short path, since the path of a socket is limited."""
    with tempfile.TemporaryDirectory(prefix="pgcast-", dir="/tmp") as path:
        yield Path(path)
