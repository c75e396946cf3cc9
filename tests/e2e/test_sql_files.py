"""psql runs the SQL files of the daemon, and the statements that sql2c.py makes of them agree."""

import subprocess

import pytest

import sql2c
from harness import ROOT

FILES = sorted(ROOT.glob("src/*/sql/*.sql"))

# Statements that return something new each time.
NEW_EACH_TIME = "export_snapshot", "write_canary", "pull", "short_pull", "start"


def arguments(database):
    """A value for each parameter of the files. After the position come two events."""
    position = database.value("""select concat_ws('.', m.epoch, e.id,
            round(extract(epoch from e.at) * 1000000)::int8, e.xid)
        from pgcast.event e, pgcast.meta m order by e.id limit 1""")
    u1, u2 = (rf"\x{uid.encode().hex()}" for uid in ("u1", "u2"))
    return {"position": position, "positions": f"{{{position},1.1.1.1}}", "completed_xids": "{}",
            "take": "t", "key": "1", "type": rf"\x{b'log'.hex()}", "uid": u1,
            "uids": f'{{"\\{u1}","\\{u2}","\\{u1}"}}', "windows": "{1,2,1}",
            "page_bytes": "1000000",
            "froms": f"{{{position},{position},1.1.1.1}}", "tos": "{null,null,null}",
            "afters": "{0,1,0}", "unverified": "{t,f,t}", "page_events": "10", "keep_ms": "100000",
            "limit_ms": "500"}


def run_both(database, path, sql, word, values):
    """The rows from the file and from the statement, in one session and snapshot."""
    variables = [f"-v{name}={value}" for name, value in values.items()]
    if word:
        variables.append(f"-v{word}=on")
    literals = ", ".join(f"'{value}'" for value in values.values())
    done = subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *variables, database.conninfo()],
        text=True, check=False, capture_output=True,
        input=f"""begin isolation level repeatable read;
            \\i {path}
            \\echo statement
            set local pgcast.inits_began = '';
            prepare statement as {sql};
            execute statement{f"({literals})" if literals else ""};""")
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split("statement\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sql_file_and_statement_agree(database, path):
    for action in "before", r"quote '' \ ""x""", "after":
        uid = f"u{len(action) % 2 + 1}"
        database.execute(f"insert into log(uid, action) values ('{uid}', '{action}')")
    database.execute("drop index log_uid")  # for pgcast.watched.state
    known = arguments(database)
    for word, sql, names in sql2c.statements(path):
        values = {name: known[name] for name in names}
        of_file, of_statement = run_both(database, path, sql, word, values)
        assert of_file and (of_file == of_statement or path.stem in NEW_EACH_TIME)
        if "pull" in path.stem:
            assert [line.split("|")[0] for line in of_file.splitlines()] == ["", "2", "3"]
