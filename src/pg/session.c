#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "log.h"
#include "pg_sql.h"

/* Min version of the schema: see pgcast.meta. */
#define SCHEMA_VERSION 4

struct session {
	struct pglink *link;
	const struct settings *settings;
	void (*ready)(void *ctx, const struct session_facts *facts);
	void *ctx;
	struct session_facts facts;
	bool echoed; /* its own notification arrived */
};

static void ask(
	struct session *session, const struct statement *statement, row_fn *row, done_fn *done)
{
	pglink_send(session->link, &(struct query){*statement, NULL, row, done, session});
}

static void fail(struct session *session, char *reason)
{
	pglink_fail(session->link, reason);
	free(reason);
}

static void fail_rights(struct session *session, const char *user)
{
	fail(session, xasprintf("role \"%s\" lacks rights (as the owner of schema pgcast:"
				" select pgcast.grant_bridge('%s'))",
			      user, user));
}

/* ---- 1: the server ---- */

static void check_rights(void *ctx);

static void take_facts(void *ctx, const struct row *row)
{
	struct session *session = ctx;
	const char *schema = row_text(row, 2, NULL);
	session->facts.pooled = !pglink_same_backend(session->link, row_text(row, 0, NULL));
	session->facts.standby = row_bool(row, 1);
	if (!strcmp(schema, "missing"))
		fail(session, xasprintf("database \"%s\" has no schema pgcast"
					" (psql -d '%s' -f pgcast.sql)",
				      row_text(row, 4, NULL), row_text(row, 4, NULL)));
	else if (!strcmp(schema, "rights"))
		fail_rights(session, row_text(row, 3, NULL));
}

void session_start(struct session *session)
{
	session->facts = (struct session_facts){0};
	session->echoed = false;
	ask(session, &facts_sql, take_facts, check_rights);
	pglink_sync(session->link);
}

/* ---- 2: settings of the session, version of the schema, rights of the role ---- */

static void join(void *ctx);

static void take_rights(void *ctx, const struct row *row)
{
	struct session *session = ctx;
	int64_t version = row_int(row, 0);
	if (version < SCHEMA_VERSION)
		fail(session, xasprintf("schema pgcast in database \"%s\" has version %d, need %d"
					" (psql -d '%s' -f pgcast.sql)",
				      row_text(row, 3, NULL), (int)version, SCHEMA_VERSION,
				      row_text(row, 3, NULL)));
	else if (!row_bool(row, 1))
		fail_rights(session, row_text(row, 2, NULL));
}

static void check_rights(void *ctx)
{
	struct session *session = ctx;
	bool pooled = session->facts.pooled;
	ask(session, pooled ? &settings_pooled_sql : &settings_sql, NULL, NULL);
	ask(session, &rights_sql, take_rights, join);
	pglink_sync(session->link);
}

/* ---- 3: notifications, or polling ---- */

static void take_key(void *ctx, const struct row *row)
{
	struct session *session = ctx;
	session->facts.key = (int)row_int(row, 0);
}

static void listen_to(struct session *session, const char *channel, size_t len)
{
	char *sql = xasprintf("listen \"%.*s\"", (int)len, channel);
	ask(session, &(struct statement){.sql = sql}, NULL, NULL);
	free(sql);
}

static void listen_all(struct session *session)
{
	listen_to(session, "pgcast", strlen("pgcast"));
	for (const char *p = session->settings->channels; *p;) {
		size_t len = strcspn(p, ", ");
		if (len)
			listen_to(session, p, len);
		p += len;
		p += strspn(p, ", ");
	}
}

static void finish(struct session *session, const char *poll_reason)
{
	session->facts.poll = poll_reason;
	/* With a key it has joined the bridges, to be woken by notifications. */
	if (poll_reason)
		log_write(session->facts.key ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
			"database: polling every %d ms: %s", (int)session->settings->poll_interval,
			poll_reason);
	pglink_live(session->link);
	session->ready(session->ctx, &session->facts);
}

static void on_echo_awaited(void *ctx)
{
	struct session *session = ctx;
	finish(session,
		session->echoed ? NULL : "notifications do not arrive (is there a pooler?)");
}

/* Notifications arrive at the end of a transaction, before the answer of the next one. */
static void await_echo(void *ctx)
{
	struct session *session = ctx;
	ask(session, &(struct statement){.sql = "select"}, NULL, on_echo_awaited);
	pglink_sync(session->link);
}

/* NULL: it need not poll. */
static const char *poll_reason(const struct session *session)
{
	if (session->settings->source == SOURCE_POLL)
		return "source = poll";
	if (session->settings->source == SOURCE_NOTIFY)
		return NULL;
	if (session->facts.standby)
		return "a standby sends no notifications";
	return session->facts.pooled ? "a pooler may deliver the first notification only" : NULL;
}

static void join(void *ctx)
{
	struct session *session = ctx;
	const char *reason = poll_reason(session);
	if (reason) {
		finish(session, reason);
		return;
	}
	if (session->facts.pooled)
		log_warning("database: source = notify behind a pooler: changes may be read only"
			    " every safety_poll (pool_mode = session)");
	ask(session, &join_sql, take_key, NULL);
	listen_all(session);
	ask(session, &notify_sql, NULL, await_echo);
	pglink_sync(session->link);
}

void session_notified(struct session *session, bool own)
{
	session->echoed |= own;
}

struct session *session_create(struct pglink *link, const struct settings *settings,
	void (*ready)(void *ctx, const struct session_facts *facts), void *ctx)
{
	struct session *session = xcalloc(1, sizeof(*session));
	session->link = link;
	session->settings = settings;
	session->ready = ready;
	session->ctx = ctx;
	return session;
}

void session_destroy(struct session **session)
{
	free(*session);
	*session = NULL;
}
