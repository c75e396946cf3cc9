/* The daemon: wires database, hub and server, and runs them until it is stopped. */
#pragma once

#include "settings.h"

/* Runs in the foreground until SIGTERM; returns the exit code. */
int daemon_run(const struct settings *settings);
/* Connects to the database and checks schema and rights; returns the exit code. */
int daemon_check(const struct settings *settings);
