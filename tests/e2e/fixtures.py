"""Fixtures of the tests that run the daemon; what they are made of is in harness.py."""

import asyncio
import inspect
import tempfile
from pathlib import Path

import pytest

from harness import Bridge, Cluster, Database, wait_for

LIMIT = 120  # seconds a test may take


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs coroutine tests, each in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), LIMIT))
    return True


@pytest.fixture(scope="session")
def cluster():
    made = Cluster("max_prepared_transactions=10")
    yield made
    made.remove()


@pytest.fixture(scope="session")
def template(cluster):
    """A database with all of the SQL, that the tests' databases are copied from."""
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
    """Starts bridges, and ends them behind the test; each has to end well."""
    running = []

    def begin(*arguments, wait=True, **settings):
        bridge = Bridge(*arguments, **settings)
        running.append(bridge)
        if wait:
            wait_for(bridge.ready, "the bridge to be ready")
        return bridge

    yield begin
    codes = [bridge.stop() for bridge in running]
    for bridge, code in zip(running, codes):
        log = "\n".join(bridge.log)
        assert "Sanitizer" not in log and "runtime error" not in log, log
        assert code == bridge.expected, f"ended with {code}:\n{log}"


@pytest.fixture
def bridge(start, database):
    return start(database)


@pytest.fixture
def folder():
    """A folder that goes with the test; its path is short, for there are sockets in it."""
    with tempfile.TemporaryDirectory(prefix="pgcast-", dir="/tmp") as path:
        yield Path(path)
