#include "hub_fixture.h"

struct settings settings;
struct hub *hub;
struct fake_journal journal;
struct fake_conn a, b, c;

int set_up_without_position(void **state)
{
	fake_ms = 1000000;
	settings = (struct settings){
		.send_buffer = SEND_BUFFER,
		.slow_timeout = SLOW_TIMEOUT,
		.ping_interval = PING_INTERVAL,
	};
	hub = hub_create(&settings);
	fake_journal_init(&journal, hub);
	return 0;
}

int set_up(void **state)
{
	set_up_without_position(state);
	fake_turn(&journal);
	hub_tick(hub);
	journal.turns = 0;
	return 0;
}

int tear_down(void **state)
{
	fake_conn_clear(&a);
	fake_conn_clear(&b);
	fake_conn_clear(&c);
	fake_journal_finish(&journal);
	int left = hub_clients(hub) != 0;
	while (!list_empty(&hub->clients)) { /* a failed test left them */
		struct client *client = LIST_OF(hub->clients.next, struct client, of_hub);
		client_gone(&client);
	}
	hub_destroy(&hub);
	return left;
}

void join(
	struct fake_conn *conn, const char *uid, const char *types, const struct protocol *protocol)
{
	const struct client_config config = {.uid = uid, .types = types, .protocol = protocol};
	fake_conn_join(conn, hub, &config);
}

void join_v1(struct fake_conn *conn)
{
	join(conn, "u1", NULL, V1);
	assert_received(conn, CONTROL("hello", "\"uid\":\"u1\""), NULL);
}

void resume(struct fake_conn *conn, const char *since, const struct protocol *protocol)
{
	const struct client_config config = {.uid = "u1", .since = since, .protocol = protocol};
	fake_conn_join(conn, hub, &config);
}

void insert_len(const char *uid, const char *type, size_t len)
{
	static const unsigned writer = 1000;
	fake_journal_write(&journal, writer, uid, type, false, len);
	fake_journal_commit(&journal, writer);
}

void insert(const char *uid, const char *type)
{
	insert_len(uid, type, 0);
}

void tick(uint64_t ms)
{
	fake_ms += ms;
	hub_tick(hub);
}
