#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "log.h"

/* The oldest schema that this program can work with: see pgcast.meta. */
#define SCHEMA_VERSION 3

struct session {
	struct pglink *link;
	const struct settings *settings;
	void (*ready)(void *ctx, const struct session_facts *facts);
	void *ctx;
	struct session_facts facts;
	bool heard; /* our own notification */
};

/* ---- 1: where it has landed, and the session's settings ---- */

static const char facts_sql[] =
	"select pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(),"
	"       case when pg_catalog.to_regnamespace('pgcast') is null then 'missing'"
	"            when not pg_catalog.has_schema_privilege('pgcast', 'usage') then 'rights'"
	"            else 'there' end,"
	"       current_user, pg_catalog.current_database()";

#define ENCODING                                                                                   \
	"('client_encoding', case current_setting('server_encoding')"                              \
	"                    when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end)"

/* Invalid UTF-8 in an SQL_ASCII database would fail every fetch in UTF8: it is taken as it is, and
 * repaired when it is put into frames. statement_timeout stays below pglink's limit for an answer.
 * Plans are made once, when the journal may be empty, and have to be right when it is not. */
static const char settings_sql[] =
	"select set_config(v.name, v.value, false)"
	"  from (values " ENCODING ","
	"               ('statement_timeout', '8s'), ('idle_session_timeout', '0'),"
	"               ('idle_in_transaction_session_timeout', '10s'), ('lock_timeout', '5s'),"
	"               ('search_path', 'pg_catalog'), ('TimeZone', 'UTC'), ('jit', 'off'),"
	"               ('plan_cache_mode', 'force_generic_plan'), ('enable_seqscan', 'off'))"
	"       v(name, value)"
	" where exists (select from pg_catalog.pg_settings s where lower(s.name) = lower(v.name))";

/* The sessions behind a pooler are everybody's; only of this one poolers keep track. */
static const char pooled_settings_sql[] =
	"select set_config(v.name, v.value, false) from (values " ENCODING ") v(name, value)";

static const char rights_sql[] =
	"select pgcast.schema_version(),"
	"       has_table_privilege('pgcast.event', 'select')"
	"       and has_function_privilege('pgcast.bridge_join()', 'execute')"
	"       and has_function_privilege('pgcast.init(text, text)', 'execute')"
	"       and has_function_privilege('pgcast.prune(interval)', 'execute'),"
	"       current_user, current_database()";

static void ask(struct session *session, const char *sql,
	void (*row)(void *ctx, const struct row *row), void (*done)(void *ctx))
{
	pglink_send(session->link,
		&(struct query){.sql = sql, .row = row, .done = done, .ctx = session});
}

static void fail(struct session *session, char *reason)
{
	pglink_fail(session->link, reason);
	free(reason);
}

static void fail_rights(struct session *session, const char *user)
{
	fail(session, xasprintf("role \"%s\" lacks rights. As the owner of schema pgcast:"
				" select pgcast.grant_bridge('%s')",
			      user, user));
}

static void check_rights(void *ctx);

static void take_facts(void *ctx, const struct row *row)
{
	struct session *session = ctx;
	const char *schema = row_text(row, 2, NULL);
	session->facts.pooled = !pglink_same_backend(session->link, row_text(row, 0, NULL));
	session->facts.standby = row_bool(row, 1);
	if (!strcmp(schema, "missing"))
		fail(session, xasprintf("database \"%s\" has no schema pgcast. Install it:"
					" psql -d '%s' -f pgcast.sql",
				      row_text(row, 4, NULL), row_text(row, 4, NULL)));
	else if (!strcmp(schema, "rights"))
		fail_rights(session, row_text(row, 3, NULL));
}

void session_start(struct session *session)
{
	session->facts = (struct session_facts){0};
	session->heard = false;
	ask(session, facts_sql, take_facts, check_rights);
	pglink_sync(session->link);
}

/* ---- 2: its settings, the schema's version and the role's rights ---- */

static void join(void *ctx);

static void take_rights(void *ctx, const struct row *row)
{
	struct session *session = ctx;
	int64_t version = row_int(row, 0);
	if (version < SCHEMA_VERSION)
		fail(session,
			xasprintf(
				"schema pgcast in database \"%s\" has version %d, and %d is needed."
				" Upgrade it: psql -d '%s' -f pgcast.sql",
				row_text(row, 3, NULL), (int)version, SCHEMA_VERSION,
				row_text(row, 3, NULL)));
	else if (!row_bool(row, 1))
		fail_rights(session, row_text(row, 2, NULL));
}

static void check_rights(void *ctx)
{
	struct session *session = ctx;
	bool pooled = session->facts.pooled;
	ask(session, pooled ? pooled_settings_sql : settings_sql, NULL, NULL);
	ask(session, rights_sql, take_rights, join);
	pglink_sync(session->link);
}

/* ---- 3: a bell, or none ---- */

static void take_key(void *ctx, const struct row *row)
{
	struct session *session = ctx;
	session->facts.key = (int)row_int(row, 0);
}

/* The list of channels to pass through, and our own. */
static void listen_to(struct session *session, const char *channel, size_t len)
{
	char *name = xstrndup(channel, len);
	/* Settings are checked to have no quotes in channel names. */
	char *sql = xasprintf("listen \"%s\"", name);
	ask(session, sql, NULL, NULL);
	free(sql);
	free(name);
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

static void settle(void *ctx)
{
	struct session *session = ctx;
	if (!session->heard) {
		log_warning("database: notifications do not arrive here (is there a transaction"
			    " pooler in between?): polling every %d ms",
			(int)session->settings->poll_interval);
		session->facts.poll = true;
	}
	pglink_live(session->link);
	session->ready(session->ctx, &session->facts);
}

/* Notifications come with the end of a transaction: the next one's answer is behind it. */
static void await_echo(void *ctx)
{
	struct session *session = ctx;
	ask(session, "select", NULL, settle);
	pglink_sync(session->link);
}

static const char *why_poll(const struct session *session)
{
	if (session->settings->source == SOURCE_POLL)
		return "as set";
	return session->facts.standby ? "a standby does not notify"
				      : "behind a pooler, notifications would get lost";
}

static void poll_only(struct session *session)
{
	log_info("database: polling every %d ms: %s", (int)session->settings->poll_interval,
		why_poll(session));
	session->facts.poll = true;
	pglink_live(session->link);
	session->ready(session->ctx, &session->facts);
}

static bool must_poll(const struct session *session)
{
	if (session->settings->source == SOURCE_NOTIFY)
		return false;
	/* What a pooler hands us in one transaction it keeps from us in the next: the echo would
	 * come, and nothing after it. */
	return session->settings->source == SOURCE_POLL || session->facts.standby ||
	       session->facts.pooled;
}

static void join(void *ctx)
{
	struct session *session = ctx;
	if (must_poll(session)) {
		poll_only(session);
		return;
	}
	if (session->facts.pooled)
		log_warning("database: source = notify behind a pooler: unless it pools sessions,"
			    " changes are seen only every safety_poll");
	ask(session, "select pgcast.bridge_join()", take_key, NULL);
	listen_all(session);
	ask(session, "select pg_notify('pgcast', '')", NULL, await_echo);
	pglink_sync(session->link);
}

void session_notified(struct session *session, bool own)
{
	session->heard |= own;
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
