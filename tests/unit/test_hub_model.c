/* Random operations on a hub, checked against what the journal holds.
 *
 * Clients come and go, clog, break and ask, writers commit out of order, turns break off: whatever
 * happens, each client's stream must be exactly the events after its start, each once, with every
 * answer to init and every cursor at its place.
 *
 * PGCAST_MODEL_SEEDS=first:count runs other seeds than the suite's. */
#include "unit.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "alloc.h"
#include "fake_conn.h"
#include "fake_journal.h"
#include "hub.h"
#include "state.h"

#define FIRST_SEED 1
#define SEEDS 200

#define MAX_PEERS 400
#define MAX_WRITERS 6
#define NOT_STARTED UINT_MAX

/* A flush's bytes (its limit and one message more), and the longest block: a write's, or a
 * message's where there are large ones. */
#define FLUSH_MOST ((4u << 20) + LARGE_MOST + BLOCK_MOST)
#define BLOCK_MOST 71000
#define LARGE_MOST 130000
#define REQUESTS_MOST 32

static const char *const uids[] = {"u1", "u2", "u3", "u11", "u", "nobody's"};
static const char *const types[] = {"log", "lo", "chat"};
/* What a connection takes before it is congested. */
static const unsigned rooms[] = {0, 1, 300, 20000, 200000};
static const char *const filters[] = {NULL, NULL, "log", "lo,chat", "logs"};

#define COUNT(items) (sizeof(items) / sizeof(*(items)))

struct peer {
	struct fake_conn conn;
	const char *uid, *filter;
	const struct protocol *protocol;
	unsigned start; /* gets the events of later positions */
	bool here;
	bool shaken; /* was here when history went another way: only so much is promised */
};

static struct model {
	uint64_t random;
	struct settings settings;
	struct hub *hub;
	struct fake_journal journal;
	struct peer *peers; /* they stay in place: connections are pointed to */
	size_t n_peers, n_published;
	bool open[MAX_WRITERS];
	/* What this seed likes to do. */
	unsigned aborts, clogs, bulk, large, rewinds;
	size_t n_uids;
} model;

/* ---- chance ---- */

static unsigned below(unsigned n)
{
	model.random ^= model.random << 13;
	model.random ^= model.random >> 7;
	model.random ^= model.random << 17;
	return (unsigned)((model.random >> 11) % n);
}

static bool chance(unsigned percent)
{
	return below(100) < percent;
}

static struct peer *some_peer(void)
{
	struct peer *peer = model.n_peers ? &model.peers[below((unsigned)model.n_peers)] : NULL;
	return peer && peer->here ? peer : NULL;
}

static const char *some_uid(void)
{
	return uids[below((unsigned)model.n_uids)];
}

/* ---- operations ---- */

static unsigned position(void)
{
	const char *text = hub_position(model.hub)->text;
	return *text ? fake_number(text) : NOT_STARTED;
}

/* What was queued when answers came, the answers, and a block that is half written. */
static size_t queue_most(void)
{
	return (size_t)model.settings.send_buffer + (model.large ? LARGE_MOST : BLOCK_MOST) +
	       REQUESTS_MOST * (model.journal.answer_len + 256);
}

/* Where a client says it had got to: mostly somewhere that there is, and how that turns out. */
static unsigned some_cursor(char text[32])
{
	unsigned n = below(model.journal.commits + 1);
	bool holds = chance(80) && n >= model.journal.pruned;
	snprintf(text, 32, "%d.0.0.%u", holds || chance(50) ? 1 : 2,
		holds || n < model.journal.pruned ? n : n + 1000000);
	return holds ? n : NOT_STARTED;
}

static void join(void)
{
	if (model.n_peers == MAX_PEERS)
		return;
	struct peer *peer = &model.peers[model.n_peers++];
	peer->uid = some_uid();
	peer->filter = filters[below(COUNT(filters))];
	peer->protocol = chance(50) ? V1 : PLAIN;
	peer->start = position();
	peer->here = true;
	struct client_config request = {
		.uid = peer->uid, .types = peer->filter, .protocol = peer->protocol};
	char since[32];
	if (chance(30)) {
		peer->start = some_cursor(since);
		request.since = since;
	}
	fake_conn_request(&peer->conn, model.hub, &request);
	assert_non_null(peer->conn.client);
	peer->conn.most = queue_most() + FLUSH_MOST;
}

static void leave(void)
{
	struct peer *peer = some_peer();
	if (!peer)
		return;
	peer->here = false;
	fake_conn_leave(&peer->conn);
}

static void congest(void)
{
	struct peer *peer = some_peer();
	if (peer && !peer->conn.congested)
		fake_conn_clog(&peer->conn, rooms[below(COUNT(rooms))]);
}

static void drain(void)
{
	struct peer *peer = some_peer();
	if (peer)
		fake_conn_drain(&peer->conn, rooms[below(COUNT(rooms))]);
}

static void break_one(void)
{
	struct peer *peer = some_peer();
	if (peer)
		peer->conn.broken = true;
}

static void ask(void)
{
	char text[80];
	struct peer *peer = some_peer();
	if (!peer)
		return;
	const char *type = chance(10) ? "unknown" : types[below(COUNT(types))];
	for (unsigned n = chance(10) ? 40 : 1; n; n--) {
		snprintf(text, sizeof(text), "{\"cmd\":\"init\",\"type\":\"%s\"%s}", type,
			chance(30) ? ",\"ref\":7" : "");
		fake_conn_say(&peer->conn, chance(5) ? "junk" : text);
	}
}

static size_t some_len(void)
{
	return chance(5) ? 60000 + below(10000) : below(400);
}

static void write_rows(void)
{
	unsigned writer = below(MAX_WRITERS);
	bool large = chance(model.large);
	unsigned n = chance(model.bulk) ? 1500 + below(2500) : 1 + below(large ? 100 : 4);
	bool one_uid = chance(50);
	const char *uid = some_uid();
	for (; n; n--) {
		bool broadcast = chance(5);
		if (!one_uid)
			uid = some_uid();
		fake_journal_write(&model.journal, writer, broadcast || chance(3) ? NULL : uid,
			types[below(COUNT(types))], broadcast,
			large	? 60000 + below(65000)
			: n > 5 ? below(50)
				: some_len());
	}
	model.open[writer] = true;
	if (chance(60)) {
		fake_journal_commit(&model.journal, writer);
		model.open[writer] = false;
	}
}

static void commit(void)
{
	unsigned writer = below(MAX_WRITERS);
	if (model.open[writer])
		fake_journal_commit(&model.journal, writer);
	model.open[writer] = false;
}

static void publish(void)
{
	char text[64];
	const char *uid = some_uid();
	snprintf(text, sizeof(text), "P %zu %s ", ++model.n_published, uid);
	hub_publish(model.hub, uid, text, strlen(text), types[below(COUNT(types))]);
}

/* Clients that were here before the hub knew a position, or had a cursor that does not hold, start
 * where they become live. */
static void note_start(void)
{
	for (size_t i = 0; i < model.n_peers; i++) {
		struct peer *peer = &model.peers[i];
		if (peer->start == NOT_STARTED && peer->here &&
			audience_is_live(peer->conn.client->audience))
			peer->start = position();
	}
}

static void go_on_with_turn(void)
{
	if (!model.journal.turn) {
		if (model.journal.wanted || chance(50))
			fake_turn_plan(&model.journal);
		return;
	}
	if (chance(model.aborts)) {
		fake_turn_abort(&model.journal);
		return;
	}
	model.journal.hurries = chance(30);
	model.journal.breaks = chance(model.aborts);
	for (unsigned n = chance(model.large ? 5 : 30) ? 3000 : 1 + below(20);
		n && model.journal.turn; n--)
		if (!fake_turn_step(&model.journal))
			note_start();
}

/* A crash loses the newest commits. Sometimes the hub's owner knows a position that still holds. */
static void rewind_history(void)
{
	unsigned keep = model.journal.commits - below(model.journal.commits < 4 ? 1 : 4);
	if (model.journal.turn || !chance(model.rewinds))
		return;
	char text[32];
	snprintf(text, sizeof(text), "1.0.0.%u", keep);
	struct position *holds = chance(70) ? position_create(text, text) : NULL;
	fake_journal_lose(&model.journal, keep);
	hub_rewind(model.hub, holds);
	position_unref(&holds);
	model.journal.wanted = true;
	for (size_t i = 0; i < model.n_peers; i++)
		model.peers[i].shaken = true;
}

static void (*const operations[])(void) = {join, join, leave, congest, congest, drain, drain, drain,
	ask, write_rows, write_rows, write_rows, commit, publish, rewind_history, go_on_with_turn,
	go_on_with_turn, go_on_with_turn, go_on_with_turn, go_on_with_turn, go_on_with_turn};

static void operate(void)
{
	void (*operation)(void) = operations[below(COUNT(operations))];
	if (operation == congest && !chance(model.clogs))
		return;
	operation();
	if (chance(1))
		break_one();
	hub_tick(model.hub);
	for (size_t i = 0; i < model.n_peers; i++) {
		const struct peer *peer = &model.peers[i];
		if (peer->here && peer->conn.client->reader.queued > queue_most())
			fail_msg("%zu bytes are queued", peer->conn.client->reader.queued);
	}
}

/* ---- the end ---- */

/* Every connection takes some more; true when one had been asked to say so. What is due must come
 * without further help than what the hub has asked for. */
static bool drain_all(void)
{
	bool asked = false;
	for (size_t i = 0; i < model.n_peers; i++) {
		struct fake_conn *conn = &model.peers[i].conn;
		asked |= conn->client && conn->woken && !conn->broken;
		fake_conn_drain(conn, chance(50) ? 0 : rooms[below(COUNT(rooms))]);
	}
	return asked;
}

static void whole_turn(void)
{
	model.journal.hurries = model.journal.breaks = false;
	if (!model.journal.turn)
		fake_turn_plan(&model.journal);
	fake_turn_end(&model.journal);
	note_start();
}

static void settle(void)
{
	if (model.journal.turn)
		whole_turn();
	drain_all();
	whole_turn();
	for (int rounds = 0; model.journal.wanted || drain_all(); rounds++) {
		assert_true(rounds < 100000);
		if (model.journal.wanted)
			whole_turn();
	}
}

/* ---- checking one client's stream ---- */

struct check {
	const struct peer *peer;
	unsigned *due;	      /* [n]: how many events it is due up to position n */
	int64_t *latest;      /* Fenwick tree, from the end: the greatest id of commits >= n */
	bool *seen;	      /* [id] */
	size_t n_seen;	      /* events */
	unsigned last_commit; /* the greatest one seen */
	bool *published;
};

static bool wants(const struct peer *peer, const char *type)
{
	return !peer->filter || !strcmp(peer->filter, type) ||
	       (!strcmp(peer->filter, "lo,chat") && strcmp(type, "log") != 0);
}

static bool is_for(const struct peer *peer, const struct row *row)
{
	return wants(peer, row->type) &&
	       (row->broadcast || (row->uid && !strcmp(row->uid, peer->uid)));
}

static bool is_due(const struct peer *peer, const struct row *row)
{
	return row->commit && row->commit > peer->start && is_for(peer, row);
}

static unsigned *count_due(const struct peer *peer)
{
	unsigned commits = model.journal.commits;
	unsigned *due = xcalloc(commits + 1, sizeof(*due));
	for (size_t i = 0; i < model.journal.n_rows; i++)
		if (is_due(peer, &model.journal.rows[i]))
			due[model.journal.rows[i].commit]++;
	for (unsigned n = 1; n <= commits; n++)
		due[n] += due[n - 1];
	return due;
}

/* What was written before and committed before must have come before. */
static void check_order(struct check *check, const struct row *row)
{
	unsigned commits = model.journal.commits;
	for (unsigned n = commits + 1 - row->commit; n; n -= n & -n)
		if (check->latest[n] > row->id)
			fail_msg(
				"%lld after %lld", (long long)row->id, (long long)check->latest[n]);
	for (unsigned n = commits + 1 - row->commit; n <= commits; n += n & -n)
		if (check->latest[n] < row->id)
			check->latest[n] = row->id;
}

static void check_event(struct check *check, const struct got *got)
{
	char *rest;
	int64_t id = strtoll(got->head + 2, &rest, 10);
	assert_true(id > 0 && (size_t)id <= model.journal.n_rows);
	const struct row *row = &model.journal.rows[id - 1];
	if (check->peer->shaken) {
		assert_true(is_for(check->peer, row));
		return;
	}
	if (!is_due(check->peer, row))
		fail_msg("%s is not for %s since %u", got->head, check->peer->uid,
			check->peer->start);
	if (check->seen[id])
		fail_msg("%lld comes twice", (long long)id);
	assert_int_equal(strncmp(rest + 1, row->type, strlen(row->type)), 0);
	assert_true(got->len >= row->len);
	check->seen[id] = true;
	check->n_seen++;
	check_order(check, row);
	if (row->commit > check->last_commit)
		check->last_commit = row->commit;
}

/* The stream has come to exactly that position. */
static void check_position(struct check *check, unsigned at, const char *what)
{
	if (check->peer->shaken)
		return;
	assert_true(at <= model.journal.commits);
	assert_true(at >= check->peer->start);
	if (check->last_commit > at)
		fail_msg("%s comes after an event of %u", what, check->last_commit);
	if (check->n_seen != check->due[at])
		fail_msg("%zu of %u events before %s", check->n_seen, check->due[at], what);
}

static void check_published(struct check *check, const struct got *got)
{
	char *rest;
	size_t n = strtoul(got->head + 2, &rest, 10);
	size_t len = strlen(check->peer->uid);
	assert_false(check->published[n]);
	check->published[n] = true;
	assert_int_equal(strncmp(rest + 1, check->peer->uid, len), 0);
	assert_int_equal(rest[1 + len], ' ');
}

static unsigned cursor_number(const char *text)
{
	unsigned n;
	assert_int_equal(sscanf(text, "\"cursor\":\"1.0.0.%u\"", &n), 1);
	return n;
}

static void check_control(struct check *check, const struct got *got, bool first)
{
	assert_int_equal(check->peer->protocol, V1);
	const char *cursor = strstr(got->head, "\"cursor\":\"");
	bool hello = strstr(got->head, "\"op\":\"hello\"");
	assert_int_equal(first, hello);
	if (cursor)
		check_position(check, cursor_number(cursor), got->head);
	else
		assert_true(strstr(got->head, "\"op\":\"error\"") ||
			    strstr(got->head, "\"op\":\"ack\"") ||
			    strstr(got->head, "\"op\":\"reset\""));
}

static void check_message(struct check *check, const struct got *got, bool first)
{
	if (first && check->peer->protocol == V1 && got->head[0] != '{')
		fail_msg("%s comes before hello", got->head);
	switch (got->head[0]) {
	case 'E':
		check_event(check, got);
		break;
	case 'I':
		check_position(
			check, (unsigned)strtoul(strchr(got->head + 2, ' '), NULL, 10), got->head);
		break;
	case 'P':
		check_published(check, got);
		break;
	default:
		check_control(check, got, first);
	}
}

static void check_peer(const struct peer *peer)
{
	const struct fake_conn *conn = &peer->conn;
	struct check check = {
		.peer = peer,
		.due = count_due(peer),
		.latest = xcalloc(model.journal.commits + 2, sizeof(*check.latest)),
		.seen = xcalloc(model.journal.n_rows + 1, sizeof(*check.seen)),
		.published = xcalloc(model.n_published + 1, sizeof(*check.published)),
	};
	for (size_t i = 0; i < conn->n_got; i++)
		check_message(&check, &conn->got[i], i == 0);
	if (peer->here && !conn->broken) {
		check_position(&check, model.journal.commits, "the end");
		assert_false(conn->in_message);
		assert_int_equal(conn->closed, 0);
		assert_int_equal(conn->client->n_init_requests, 0);
		assert_int_equal(conn->client->reader.queued, 0);
	}
	free(check.due);
	free(check.latest);
	free(check.seen);
	free(check.published);
}

/* ---- a run ---- */

static void begin(uint64_t seed)
{
	static const int64_t buffers[] = {4096, 16384, 262144};
	model = (struct model){.random = seed * 0x9E3779B97F4A7C15u + 1};
	model.settings = (struct settings){.slow_timeout = 60000};
	model.settings.send_buffer = buffers[below(COUNT(buffers))];
	model.settings.ping_interval = chance(50) ? 0 : INT64_MAX;
	model.aborts = chance(70) ? below(10) : 0;
	model.clogs = below(100);
	model.bulk = chance(20) ? 6 : 0;
	model.large = chance(15) ? 10 : 0;
	if (model.large)
		model.aborts = 10;
	model.rewinds = chance(20) ? 20 : 0;
	model.n_uids = 1 + below(COUNT(uids));
	model.hub = hub_create(&model.settings);
	model.peers = xcalloc(MAX_PEERS, sizeof(*model.peers));
	fake_journal_init(&model.journal, model.hub);
	model.journal.answer_len = chance(30) ? 3000 : 32;
	model.journal.pruned = chance(30) ? 5 : 0;
}

static void end(void)
{
	for (size_t i = 0; i < model.n_peers; i++)
		fake_conn_clear(&model.peers[i].conn);
	fake_journal_finish(&model.journal);
	hub_destroy(&model.hub);
	free(model.peers);
}

static void run(uint64_t seed)
{
	fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
	begin(seed);
	for (unsigned n = 100 + below(400); n; n--)
		operate();
	settle();
	for (size_t i = 0; i < model.n_peers; i++)
		check_peer(&model.peers[i]);
	end();
}

static void every_stream_is_what_the_journal_holds(void **state)
{
	(void)state;
	unsigned long long first = FIRST_SEED, count = SEEDS;
	const char *seeds = getenv("PGCAST_MODEL_SEEDS");
	if (seeds)
		assert_int_equal(sscanf(seeds, "%llu:%llu", &first, &count), 2);
	for (unsigned long long i = 0; i < count; i++)
		run(first + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_stream_is_what_the_journal_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
