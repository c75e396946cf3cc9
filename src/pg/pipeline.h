/* libpq's pipeline mode on one connection: sends queries and passes each answer to its callbacks.
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "query.h"

struct pipeline;

/* The connection must be in pipeline mode and non-blocking. */
struct pipeline *pipeline_create(PGconn *conn);
/* Unanswered queries will have no answer. May be called from a row's callback. */
void pipeline_destroy(struct pipeline **pipeline);

/* False: see PQerrorMessage. */
bool pipeline_send(struct pipeline *pipeline, const struct query *query);
bool pipeline_sync(struct pipeline *pipeline);
/* Handles the answers that have arrived. Returns NULL, or an error that ends the connection and is
 * freed by the caller. */
char *pipeline_receive(struct pipeline *pipeline);
