#!/usr/bin/env python3
r"""Turns the SQL files of a folder, which psql can run, into a C file of struct statement.

usage: sql2c.py FOLDER OUTPUT.c DEPFILE

x.sql holds one statement and becomes x_sql. Its comment "-- parameters: a, b" makes :'a' and :'b'
$1 and $2, and "-- prepared" gives it a name. \set makes constants. With \if :{?word}, \else and
\endif it also becomes x_word_sql, for which `word` is set.
"""
import json
import re
import sys
from pathlib import Path

CONDITION = re.compile(r"^\\if :\{\?(\w+)\}\n(.*?)(?:^\\else\n(.*?))?^\\endif\n", re.M | re.S)
TOKEN = re.compile(r"(?P<blank>(?:\s|--.*)+)|:'(?P<parameter>\w+)'|:(?P<constant>[a-z_]\w*)|"
                   r"'(?:''|[^'])*'|::|.")


def convert(text, parameters):
    """The statement as it is sent, and the parameters that it has."""
    constants = dict(re.findall(r"^\\set (\w+) (.*)$", text, re.M))
    used = set()

    def replace(match):
        if parameter := match["parameter"]:
            used.add(parameter)
            return f"${parameters.index(parameter) + 1}"
        if constant := match["constant"]:
            return constants[constant]
        return " " if match["blank"] else match[0]

    sql = TOKEN.sub(replace, re.sub(r"^\\set .*\n", "", text, flags=re.M)).strip(" ;")
    return sql, [name for name in parameters if name in used]


def statements(path):
    """(word, SQL, parameters) of each statement that a file becomes; the first one has no word."""
    text = path.read_text()
    declared = re.search(r"^-- parameters: (.*)$", text, re.M)
    parameters = declared[1].split(", ") if declared else []
    for word in ["", *sorted({match[1] for match in CONDITION.finditer(text)})]:
        chosen = CONDITION.sub(lambda match: match[2 if match[1] == word else 3] or "", text)
        yield word, *convert(chosen, parameters)


def main():
    folder, output, depfile = map(Path, sys.argv[1:])
    files = sorted(folder.glob("*.sql"))
    lines = [f'#include "{output.stem}.h"\n']
    for path in files:
        name = f'"{path.stem}"' if "\n-- prepared\n" in path.read_text() else "NULL"
        for word, sql, parameters in statements(path):
            identifier = f"{path.stem}_{word}_sql".replace("__", "_")
            value = f"{{{name}, {json.dumps(sql)}, {len(parameters)}}}"
            lines.append(f"const struct statement {identifier} = {value};")
    output.write_text("\n".join(lines) + "\n")
    depfile.write_text(f"{output}: {' '.join(map(str, [folder, *files]))}\n")


if __name__ == "__main__":
    main()
