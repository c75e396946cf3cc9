/* The statements of the journal, from the files in sql/, and the columns that they return. Each
 * file describes its statement and the order of its parameters. */
#pragma once

#include "query.h"

extern const struct statement affected_sql, answer_sql, export_snapshot_sql, completed_xids_sql,
	conservative_cursor_sql, init_sql, journal_usage_sql, last_valid_sql, limit_init_sql,
	lock_sql, pages_sql, pooled_settings_sql, prune_sql, pull_sql, pull_standby_sql,
	queue_usage_sql, short_pull_sql, start_sql, start_standby_sql, watched_sql,
	watched_standby_sql, write_canary_sql;

enum event_column {
	EVENT_ID,
	EVENT_UID,
	EVENT_BROADCAST,
	EVENT_TYPE,
	EVENT_MESSAGE,
	EVENT_COLUMNS
};

/* The first row of a pull. Its columns are those of events, because libpq copies the description of
 * every column with each row. */
enum pull_column {
	PULL_BROUGHT = EVENT_UID,		    /* for witness_add; NULL: no transactions */
	PULL_NO_XACT_IN_PROGRESS = EVENT_BROADCAST, /* at that position; of no use on a standby */
	PULL_CONCURRENT_WRITERS = EVENT_TYPE,	    /* newer than the last position */
	PULL_POSITION = EVENT_MESSAGE,		    /* NULL: the pull is too large */
};

/* A row without an event's id is about a page; an event is of a page, or a broadcast of windows. */
enum page_column { PAGE_NUMBER = EVENT_COLUMNS, PAGE_WINDOWS, PAGE_LOST, PAGE_UPTO };
