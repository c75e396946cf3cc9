/* The statements of a new session, from the files in sql/. */
#pragma once

#include "query.h"

extern const struct statement facts_sql, join_sql, notify_sql, rights_sql, settings_sql,
	settings_pooled_sql;
