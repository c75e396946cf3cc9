/* libpq's pipeline mode on one connection: sends queries, and hands each answer to who asked. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "query.h"

struct pipeline;

/* The connection is in pipeline mode and non-blocking. */
struct pipeline *pipeline_create(PGconn *conn);
/* What was not answered never will be. May be called from a row's callback. */
void pipeline_destroy(struct pipeline **pipeline);

/* False: see PQerrorMessage. */
bool pipeline_send(struct pipeline *pipeline, const struct query *query);
bool pipeline_sync(struct pipeline *pipeline);
/* Takes what has arrived. Returns an error that ends the connection, freed by the caller, or NULL.
 */
char *pipeline_receive(struct pipeline *pipeline);
