/* Random operations on a hub, checked against the rows of the journal.
 *
 * Clients join, leave, send init and stop, get congested and break; writers commit out of order;
 * turns are aborted. In any case the stream of each client must be the events after its start, each
 * once, with every answer to init and every cursor in its place.
 *
 * PGCAST_MODEL_SEEDS=first:count replaces the seeds. */
#include "fake_conn.h"

#include <limits.h>
#include <stdio.h>

#include "alloc.h"
#include "fake_journal.h"
#include "state.h"

#define FIRST_SEED 1
#define SEEDS 200

#define MAX_PEERS 400
#define MAX_WRITERS 6
#define NOT_STARTED UINT_MAX

/* In bytes: the longest message, also of seeds with large ones, and a flush (its limit and one
 * message more). */
#define MAX_BLOCK 71000
#define MAX_LARGE_BLOCK 130000
#define MAX_FLUSH ((4u << 20) + MAX_LARGE_BLOCK + MAX_BLOCK)
#define MAX_REQUESTS 32

static const char *const uids[] = {"u1", "u2", "u3", "u11", "u", "nobody's"};
static const char *const types[] = {"log", "lo", "chat"};
static const char *const filters[] = {NULL, NULL, "log", "lo,chat", "logs"};
/* Bytes that a connection accepts before it is congested. */
static const unsigned rooms[] = {0, 1, 300, 20000, 200000};

/* The rows that a cursor has: of commits up to `from`, and of those up to `to` with ids up to
 * `after`. */
struct reach {
	unsigned from, to;
	long long after;
};

struct peer {
	struct fake_conn conn;
	const char *uid, *filter;
	const char *stopped; /* a type; its events may have come before the command */
	const struct protocol *protocol;
	unsigned start;	    /* gets the events of later positions, */
	struct reach known; /* but not these */
	size_t n_published; /* before it joined */
	bool joined;
	bool rewound; /* since a rewind, events may be repeated or lost */
};

static struct model {
	uint64_t random;
	struct settings settings;
	struct hub *hub;
	struct fake_journal journal;
	struct peer *peers; /* never moved: the hub has pointers to their connections */
	size_t n_peers, n_published;
	bool in_transaction[MAX_WRITERS];
	/* The chances of this seed, in percent. */
	unsigned aborts, congestions, bulk, large, rewinds;
	size_t n_uids;
} model;

/* ---- chance ---- */

static unsigned random_below(unsigned n)
{
	model.random ^= model.random << 13;
	model.random ^= model.random >> 7;
	model.random ^= model.random << 17;
	return (unsigned)((model.random >> 11) % n);
}

static bool chance(unsigned percent)
{
	return random_below(100) < percent;
}

#define RANDOM_OF(array) ((array)[random_below(LENGTH(array))])

/* NULL: none, or one that has left. */
static struct peer *random_peer(void)
{
	if (!model.n_peers)
		return NULL;
	struct peer *peer = &model.peers[random_below((unsigned)model.n_peers)];
	return peer->joined ? peer : NULL;
}

static const char *random_uid(void)
{
	return uids[random_below((unsigned)model.n_uids)];
}

/* ---- operations ---- */

static unsigned position(void)
{
	const char *text = hub_position(model.hub)->text;
	return *text ? fake_number(text) : NOT_STARTED;
}

/* The queue of a client: a full send buffer, then the answers, and a half-written block. */
static size_t max_queued(void)
{
	return (size_t)model.settings.send_buffer + (model.large ? MAX_LARGE_BLOCK : MAX_BLOCK) +
	       MAX_REQUESTS * (model.journal.answer_len + 256);
}

#define MAX_CURSOR 80

/* A cursor, mostly valid, and where a client starts that resumes from it. */
static unsigned random_cursor(char text[MAX_CURSOR], struct reach *known)
{
	unsigned n = random_below(model.journal.commits + 1);
	bool valid = chance(80) && n >= model.journal.pruned;
	int len = snprintf(text, MAX_CURSOR, "%d.0.0.%u", valid || chance(50) ? 1 : 2,
		valid || n < model.journal.pruned ? n : n + 1000000);
	if (!valid)
		return NOT_STARTED;
	if (chance(30)) {
		*known = (struct reach){.from = n,
			.to = n + random_below(model.journal.commits - n + 1),
			.after = 1 + random_below((unsigned)model.journal.n_rows + 1)};
		snprintf(text + len, MAX_CURSOR - (size_t)len, "~%lld~0.0.%u", known->after,
			known->to);
	}
	return n;
}

static void join(void)
{
	if (model.n_peers == MAX_PEERS)
		return;
	struct peer *peer = &model.peers[model.n_peers++];
	peer->uid = random_uid();
	peer->filter = RANDOM_OF(filters);
	peer->protocol = chance(50) ? V1 : PLAIN;
	peer->start = position();
	peer->n_published = model.n_published;
	peer->joined = true;
	struct client_config config = {
		.uid = peer->uid, .types = peer->filter, .protocol = peer->protocol};
	char since[MAX_CURSOR];
	if (chance(30)) {
		peer->start = random_cursor(since, &peer->known);
		config.since = since;
	}
	fake_conn_join(&peer->conn, model.hub, &config);
	assert_non_null(peer->conn.client);
	peer->conn.max_queued = max_queued() + MAX_FLUSH;
}

static void leave(void)
{
	struct peer *peer = random_peer();
	if (!peer)
		return;
	peer->joined = false;
	fake_conn_leave(&peer->conn);
}

static void congest(void)
{
	struct peer *peer = random_peer();
	if (peer && !peer->conn.congested)
		fake_conn_congest(&peer->conn, RANDOM_OF(rooms));
}

static void drain(void)
{
	struct peer *peer = random_peer();
	if (peer)
		fake_conn_drain(&peer->conn, RANDOM_OF(rooms));
}

static void break_connection(void)
{
	struct peer *peer = random_peer();
	if (peer)
		peer->conn.broken = true;
}

static void send_init(void)
{
	char text[80];
	struct peer *peer = random_peer();
	if (!peer)
		return;
	const char *type = chance(10) ? "unknown" : RANDOM_OF(types);
	for (unsigned n = chance(10) ? 40 : 1; n; n--) {
		snprintf(text, sizeof(text), "{\"cmd\":\"init\",\"type\":\"%s\"%s}", type,
			chance(30) ? ",\"ref\":7" : "");
		fake_conn_send(&peer->conn, chance(5) ? "junk" : text);
	}
}

static void send_stop(void)
{
	char text[80];
	struct peer *peer = random_peer();
	if (!peer || peer->stopped || peer->start == NOT_STARTED)
		return;
	peer->stopped = RANDOM_OF(types);
	snprintf(text, sizeof(text), "{\"cmd\":\"stop\",\"type\":\"%s\"}", peer->stopped);
	fake_conn_send(&peer->conn, text);
}

static void write_rows(void)
{
	unsigned writer = random_below(MAX_WRITERS);
	bool large = chance(model.large);
	unsigned n =
		chance(model.bulk) ? 1500 + random_below(2500) : 1 + random_below(large ? 100 : 4);
	bool one_uid = chance(50);
	const char *uid = random_uid();
	for (; n; n--) {
		bool broadcast = chance(5);
		if (!one_uid)
			uid = random_uid();
		size_t len = large	 ? 60000 + random_below(65000)
			     : n > 5	 ? random_below(50)
			     : chance(5) ? 60000 + random_below(10000)
					 : random_below(400);
		fake_journal_write(&model.journal, writer, broadcast || chance(3) ? NULL : uid,
			RANDOM_OF(types), broadcast, len);
	}
	model.in_transaction[writer] = !chance(60);
	if (!model.in_transaction[writer])
		fake_journal_commit(&model.journal, writer);
}

static void answer_init(void)
{
	size_t n = model.journal.n_held;
	if (n)
		fake_answer(&model.journal, random_below((unsigned)n),
			chance(10)   ? FAKE_AGAIN
			: chance(10) ? FAKE_REFUSED
				     : FAKE_ANSWERED);
}

static void commit(void)
{
	unsigned writer = random_below(MAX_WRITERS);
	if (model.in_transaction[writer])
		fake_journal_commit(&model.journal, writer);
	model.in_transaction[writer] = false;
}

static void publish(void)
{
	char text[64];
	const char *uid = random_uid();
	snprintf(text, sizeof(text), "P %zu %s ", ++model.n_published, uid);
	hub_publish(model.hub, uid, text, strlen(text), RANDOM_OF(types));
}

/* Clients that joined before the hub knew a position, or with an invalid cursor, start where they
 * become live. */
static void note_start(void)
{
	for (size_t i = 0; i < model.n_peers; i++) {
		struct peer *peer = &model.peers[i];
		if (peer->start == NOT_STARTED && peer->joined &&
			audience_is_live(peer->conn.client->audience))
			peer->start = position();
	}
}

static void step_turn(void)
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
	model.journal.plan_before_write = chance(30);
	model.journal.abort_planned = chance(model.aborts);
	for (unsigned n = chance(model.large ? 5 : 30) ? 3000 : 1 + random_below(20);
		n && model.journal.turn; n--)
		if (!fake_turn_step(&model.journal))
			note_start();
}

/* A crash loses the newest commits. Mostly the journal knows a position before them. */
static void rewind_history(void)
{
	unsigned keep = model.journal.commits - random_below(model.journal.commits < 4 ? 1 : 4);
	if (model.journal.turn || !chance(model.rewinds))
		return;
	char text[32];
	snprintf(text, sizeof(text), "1.0.0.%u", keep);
	struct position *valid = chance(70) ? position_create(text, text) : NULL;
	fake_journal_lose(&model.journal, keep);
	hub_rewind(model.hub, valid, "cursor");
	position_unref(&valid);
	model.journal.wanted = true;
	for (size_t i = 0; i < model.n_peers; i++)
		model.peers[i].rewound = true;
}

static void (*const operations[])(void) = {join, join, leave, congest, congest, drain, drain, drain,
	send_init, send_stop, answer_init, answer_init, write_rows, write_rows, write_rows, commit,
	publish, rewind_history, step_turn, step_turn, step_turn, step_turn, step_turn, step_turn};

static void operate(void)
{
	void (*operation)(void) = RANDOM_OF(operations);
	if (operation == congest && !chance(model.congestions))
		return;
	fake_ms += 5;
	operation();
	if (chance(1))
		break_connection();
	hub_tick(model.hub);
	for (size_t i = 0; i < model.n_peers; i++) {
		const struct peer *peer = &model.peers[i];
		if (peer->joined && peer->conn.client->reader.queued > max_queued())
			fail_msg("%zu bytes are queued", peer->conn.client->reader.queued);
	}
}

/* ---- the end ---- */

/* Every connection accepts more bytes; true when the hub had asked for a wake. All events must
 * arrive with no more wakes and turns than the hub asks for. */
static bool drain_all(void)
{
	bool requested = false;
	for (size_t i = 0; i < model.n_peers; i++) {
		struct fake_conn *conn = &model.peers[i].conn;
		requested |= conn->client && conn->wake_requested && !conn->broken;
		fake_conn_drain(conn, chance(50) ? 0 : RANDOM_OF(rooms));
	}
	return requested;
}

static void complete_turn(void)
{
	fake_ms += 50;
	model.journal.plan_before_write = model.journal.abort_planned = false;
	if (!model.journal.turn)
		fake_turn_plan(&model.journal);
	fake_turn_end(&model.journal);
	note_start();
}

/* A transport ends a broken connection soon. */
static void end_broken(void)
{
	for (size_t i = 0; i < model.n_peers; i++) {
		struct peer *peer = &model.peers[i];
		if (!peer->joined || !peer->conn.broken)
			continue;
		peer->joined = false;
		fake_conn_leave(&peer->conn);
	}
}

static void settle(void)
{
	end_broken();
	if (model.journal.turn)
		complete_turn();
	complete_turn();
	for (int rounds = 0; model.journal.wanted || model.journal.n_held || drain_all();
		rounds++) {
		assert_true(rounds < 10000);
		while (model.journal.n_held)
			fake_answer(&model.journal, 0, FAKE_ANSWERED);
		if (model.journal.wanted)
			complete_turn();
	}
}

/* ---- checking one client's stream ---- */

struct check {
	const struct peer *peer;
	unsigned *due;	      /* [n]: the number of its events up to position n */
	int64_t *max_id;      /* Fenwick tree, from the end: the greatest id of commits >= n */
	bool *seen;	      /* [id] */
	size_t n_seen;	      /* events */
	unsigned last_commit; /* the greatest one seen */
	bool *published;
};

static bool wants(const struct peer *peer, const char *type)
{
	if (peer->stopped && !strcmp(peer->stopped, type))
		return false;
	return !peer->filter || !strcmp(peer->filter, type) ||
	       (!strcmp(peer->filter, "lo,chat") && strcmp(type, "log") != 0);
}

static bool is_for(const struct peer *peer, const struct row *row)
{
	return wants(peer, row->type) &&
	       (row->broadcast || (row->uid && !strcmp(row->uid, peer->uid)));
}

static bool reaches(const struct reach *reach, const struct row *row)
{
	return row->commit <= reach->from || (row->commit <= reach->to && row->id <= reach->after);
}

static bool is_due(const struct peer *peer, const struct row *row)
{
	return row->commit && row->commit > peer->start && !reaches(&peer->known, row) &&
	       is_for(peer, row);
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

/* An event with a smaller id that was not committed later must have come earlier. */
static void check_order(struct check *check, const struct row *row)
{
	unsigned commits = model.journal.commits;
	for (unsigned n = commits + 1 - row->commit; n; n -= n & -n)
		if (check->max_id[n] > row->id)
			fail_msg(
				"%lld after %lld", (long long)row->id, (long long)check->max_id[n]);
	for (unsigned n = commits + 1 - row->commit; n <= commits; n += n & -n)
		if (check->max_id[n] < row->id)
			check->max_id[n] = row->id;
}

static void check_event(struct check *check, const struct received *message)
{
	char *rest;
	int64_t id = strtoll(message->head + 2, &rest, 10);
	assert_true(id > 0 && (size_t)id <= model.journal.n_rows);
	const struct row *row = &model.journal.rows[id - 1];
	if (check->peer->stopped && !strcmp(check->peer->stopped, row->type))
		return;
	if (check->peer->rewound) {
		assert_true(is_for(check->peer, row));
		return;
	}
	if (!is_due(check->peer, row))
		fail_msg("%s is not for %s from %u on", message->head, check->peer->uid,
			check->peer->start);
	if (check->seen[id])
		fail_msg("%lld arrives twice", (long long)id);
	assert_int_equal(strncmp(rest + 1, row->type, strlen(row->type)), 0);
	assert_true(message->len >= row->len);
	check->seen[id] = true;
	check->n_seen++;
	check_order(check, row);
	if (row->commit > check->last_commit)
		check->last_commit = row->commit;
}

/* The stream has all events up to that position, and none after it. */
static void check_position(struct check *check, unsigned at, const char *label)
{
	if (check->peer->rewound)
		return;
	assert_true(at <= model.journal.commits);
	assert_true(at >= check->peer->start);
	if (check->last_commit > at)
		fail_msg("%s comes after an event of %u", label, check->last_commit);
	if (check->n_seen != check->due[at])
		fail_msg("%zu of %u events before %s", check->n_seen, check->due[at], label);
}

/* The same for the cursor of a client that is catching up. */
static void check_reach(struct check *check, const struct reach *reach, const char *label)
{
	if (check->peer->rewound)
		return;
	assert_true(reach->to <= model.journal.commits);
	for (size_t i = 0; i < model.journal.n_rows; i++) {
		const struct row *row = &model.journal.rows[i];
		if (check->seen[row->id] && !reaches(reach, row))
			fail_msg("%s comes after the event %lld", label, (long long)row->id);
		if (!check->seen[row->id] && reaches(reach, row) && is_due(check->peer, row))
			fail_msg("%s comes before the event %lld", label, (long long)row->id);
	}
}

static void check_uid(const struct check *check, const char *text)
{
	size_t len = strlen(check->peer->uid);
	assert_memory_equal(text, check->peer->uid, len);
	assert_int_equal(text[len], ' ');
}

static void check_publish(struct check *check, const struct received *message)
{
	char *rest;
	size_t n = strtoul(message->head + 2, &rest, 10);
	assert_true(n > check->peer->n_published);
	assert_false(check->published[n]);
	check->published[n] = true;
	check_uid(check, rest + 1);
}

static void check_answer(struct check *check, const struct received *message)
{
	char *rest;
	unsigned at = (unsigned)strtoul(strchr(message->head + 2, ' '), &rest, 10);
	check_position(check, at, message->head);
	check_uid(check, rest + 1);
}

static void check_cursor(struct check *check, const char *text, const char *label)
{
	struct reach reach = {0};
	int fields = sscanf(
		text, "\"cursor\":\"1.0.0.%u~%lld~0.0.%u\"", &reach.from, &reach.after, &reach.to);
	if (fields == 3)
		check_reach(check, &reach, label);
	else if (fields == 1)
		check_position(check, reach.from, label);
	else
		fail_msg("no cursor: %s", label);
}

static void check_control(struct check *check, const struct received *message, bool first)
{
	assert_int_equal(check->peer->protocol, V1);
	const char *cursor = strstr(message->head, "\"cursor\":\"");
	bool hello = strstr(message->head, "\"op\":\"hello\"");
	assert_int_equal(first, hello);
	if (cursor)
		check_cursor(check, cursor, message->head);
	else
		assert_true(strstr(message->head, "\"op\":\"error\"") ||
			    strstr(message->head, "\"op\":\"ack\"") ||
			    strstr(message->head, "\"op\":\"reset\""));
}

static void check_message(struct check *check, const struct received *message, bool first)
{
	if (first && check->peer->protocol == V1 && message->head[0] != '{')
		fail_msg("%s comes before hello", message->head);
	switch (message->head[0]) {
	case 'E':
		check_event(check, message);
		break;
	case 'I':
		check_answer(check, message);
		break;
	case 'P':
		check_publish(check, message);
		break;
	default:
		check_control(check, message, first);
	}
}

static void check_peer(const struct peer *peer)
{
	const struct fake_conn *conn = &peer->conn;
	struct check check = {
		.peer = peer,
		.due = count_due(peer),
		.max_id = xcalloc(model.journal.commits + 2, sizeof(*check.max_id)),
		.seen = xcalloc(model.journal.n_rows + 1, sizeof(*check.seen)),
		.published = xcalloc(model.n_published + 1, sizeof(*check.published)),
	};
	for (size_t i = 0; i < conn->n_received; i++)
		check_message(&check, &conn->received[i], i == 0);
	if (peer->joined && !conn->broken) {
		check_position(&check, model.journal.commits, "the end");
		assert_false(conn->in_message);
		assert_int_equal(conn->closed, 0);
		assert_int_equal(conn->client->n_init_requests, 0);
		assert_int_equal(conn->client->reader.queued, 0);
	}
	free(check.due);
	free(check.max_id);
	free(check.seen);
	free(check.published);
}

/* ---- a run ---- */

static void begin(uint64_t seed)
{
	static const int64_t send_buffers[] = {4096, 16384, 262144};
	model = (struct model){.random = seed * 0x9E3779B97F4A7C15u + 1};
	model.settings = (struct settings){.slow_timeout = 60000};
	model.settings.send_buffer = RANDOM_OF(send_buffers);
	model.settings.ping_interval = chance(50) ? 0 : INT64_MAX;
	model.aborts = chance(70) ? random_below(10) : 0;
	model.congestions = random_below(100);
	model.bulk = chance(20) ? 6 : 0;
	model.large = chance(15) ? 10 : 0;
	if (model.large)
		model.aborts = 10;
	model.rewinds = chance(20) ? 20 : 0;
	model.n_uids = 1 + random_below(LENGTH(uids));
	model.hub = hub_create(&model.settings);
	model.peers = xcalloc(MAX_PEERS, sizeof(*model.peers));
	fake_journal_init(&model.journal, model.hub);
	model.journal.max_pull = model.large ? 20 : chance(50) ? 10 + random_below(40) : 0;
	model.journal.answer_len = chance(30) ? 3000 : 32;
	model.journal.pruned = chance(30) ? 5 : 0;
	model.journal.apart = chance(50);
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
	for (unsigned n = 100 + random_below(400); n; n--)
		operate();
	settle();
	for (size_t i = 0; i < model.n_peers; i++)
		check_peer(&model.peers[i]);
	end();
}

static void test_hub_model_random_operations(void **state)
{
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
		cmocka_unit_test(test_hub_model_random_operations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
