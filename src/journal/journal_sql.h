/* The statements that read the journal, and the columns that they return. */
#pragma once

extern const char lock_sql[];	/* $1 bridge's key: t when the sleeping lock was free */
extern const char unlock_sql[]; /* $1 bridge's key */

extern const char start_sql[];	    /* where the journal ends now */
extern const char pull_sql[];	    /* $1 position: everything since */
extern const char quiet_pull_sql[]; /* the same, $1 having nothing open */
extern const char weak_sql[]; /* a cursor that is never too long, from this snapshot or any later */
extern const char standby_start_sql[];
extern const char standby_pull_sql[]; /* and $2 what of it has ended, as finished_sql said before */
extern const char finished_sql[];     /* $1 position: what of its open transactions has ended */

/* $1 uids, $2 from, $3 to (null: now), $4 after, $5 whether to check `from`, $6 events per page */
extern const char pages_sql[];
extern const char init_sql[];  /* $1 types, $2 uids: number, message or null */
extern const char holds_sql[]; /* $1 positions: number, whether history still has it */

/* Columns of events. A pull has one row with id 0, the first, that says where it ends: the position
 * in TYPE, the cursor in MESSAGE, or null when it would be too long, in BROADCAST whether nothing
 * was in progress there (nor on a standby, which does not know), and in UID '' or null: whether
 * something was that is newer than the position before. A page that was to be checked has one, too:
 * in TYPE the reason why its beginning is lost, or null. */
enum event_column { EVENT_ID, EVENT_UID, EVENT_BROADCAST, EVENT_TYPE, EVENT_MESSAGE, EVENT_PAGE };
