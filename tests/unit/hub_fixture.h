/* A hub, its journal in memory and three connections, for the tests of the hub. */
#pragma once

#include "fake_conn.h"
#include "fake_journal.h"
#include "state.h"

#define SEND_BUFFER 8192
#define SLOW_TIMEOUT 60000
#define PING_INTERVAL 25000

/* The beginnings of control messages to u1; position: its number, as a string. */
#define CONTROL(op, rest) "{\"type\":\"pgcast\",\"op\":\"" op "\"," rest
#define HELLO(position, resumed)                                                                   \
	CONTROL("hello", "\"uid\":\"u1\",\"types\":null,\"cursor\":\"1.0.0." position              \
			 "\",\"resumed\":" resumed)
#define CURSOR(position) CONTROL("cursor", "\"cursor\":\"1.0.0." position "\"}")
#define RESET(reason) CONTROL("reset", "\"reason\":\"" reason "\"}")
#define ERROR(code) CONTROL("error", "\"code\":\"" code "\"")
#define ACK(ref) CONTROL("ack", "\"ref\":" ref "}")

#define STOP_LOG "{\"cmd\":\"stop\",\"type\":\"log\"}"
#define INIT_LOG "{\"cmd\":\"init\",\"type\":\"log\"}"

extern struct settings settings;
extern struct hub *hub;
extern struct fake_journal journal;
extern struct fake_conn a, b, c;

/* A hub that stands at the position 0, or that does not know a position yet. */
int set_up(void **state);
int set_up_without_position(void **state);
int tear_down(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_WITHOUT_POSITION(name)                                                                \
	cmocka_unit_test_setup_teardown(name, set_up_without_position, tear_down)

void join(struct fake_conn *conn, const char *uid, const char *types,
	const struct protocol *protocol);
/* Joins as u1, between turns, and asserts the hello. */
void join_v1(struct fake_conn *conn);
/* Joins as u1 with a cursor. */
void resume(struct fake_conn *conn, const char *since, const struct protocol *protocol);

/* One committed row; its message has `len` bytes, or as few as it needs. */
void insert_len(const char *uid, const char *type, size_t len);
void insert(const char *uid, const char *type);
/* Moves the clock and calls hub_tick. */
void tick(uint64_t ms);
