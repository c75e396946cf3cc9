/* What is to be done now and then: pruning the journal, and looking after the notification queue
 * and the server's role. */
#pragma once

#include <uv.h>

#include "pglink.h"
#include "session.h"
#include "settings.h"

struct upkeep;

struct upkeep *upkeep_create(uv_loop_t *loop, const struct settings *settings, struct pglink *link);
/* The loop has to run on until its timer is closed. */
void upkeep_destroy(struct upkeep **upkeep);

/* The connection is set up. */
void upkeep_connected(struct upkeep *upkeep, const struct session_facts *facts);
