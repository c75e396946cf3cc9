/* One client: writing what it has before it, and doing what it asks for. */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "hub_priv.h"
#include "message.h"
#include "stats.h"

#ifndef PGCAST_VERSION
#error "the build defines PGCAST_VERSION"
#endif

/* A client that waits for more answers than this gets an error instead. */
#define MAX_REQUESTS 32

static void set_waiting(struct client *client, bool waiting)
{
	client->hub->n_waiting += (size_t)waiting - (size_t)client->waiting;
	client->waiting = waiting;
}

void client_await(struct client *client)
{
	if (!client->waiting && client->transport->congested(client->conn)) {
		set_waiting(client, true);
		client->transport->wake(client->conn);
	}
}

void client_progressed(struct client *client)
{
	client->progress_ms = (uint32_t)clock_ms();
}

/* In 32 bits, which is right for less than seven weeks. */
uint32_t client_waits(const struct client *client)
{
	return (uint32_t)clock_ms() - client->progress_ms;
}

void client_pump(struct client *client)
{
	const unsigned char *bytes;
	size_t len;
	if (!client->greeted || !client->audience)
		return;
	while (reader_peek(&client->reader, &bytes, &len)) {
		if (client->transport->congested(client->conn))
			break;
		if (!client->transport->write(client->conn, bytes, len))
			return;
		client_progressed(client);
		reader_advance(&client->reader, len);
	}
	client_await(client);
}

bool client_drained(struct client *client)
{
	bool nothing = !client->reader.queued || !client->greeted;
	return nothing && !client->transport->congested(client->conn);
}

bool client_full(const struct client *client)
{
	return client->reader.queued > (size_t)client->hub->settings->send_buffer;
}

void client_writable(struct client *client)
{
	set_waiting(client, false);
	client_progressed(client);
	client_pump(client);
	if (!client->audience || (audience_live(client->audience) && !client->requests))
		return;
	if (client_drained(client))
		hub_want(client->hub);
	else
		client_await(client);
}

void client_insert(struct client *client, struct block *block)
{
	if (!client->audience)
		return;
	reader_insert(&client->reader, &client->audience->run, block);
	client_pump(client);
}

void client_tell(struct client *client, char *text)
{
	struct block *block = frame_text(text, strlen(text));
	free(text);
	client_insert(client, block);
	block_unref(&block);
}

void client_hello(struct client *client, const char *cursor, bool resumed)
{
	if (client->greeted)
		return;
	char *text = message_hello(client->user->uid, cursor, resumed, PGCAST_VERSION);
	struct block *block = frame_text(text, strlen(text));
	free(text);
	reader_prepend(&client->reader, block);
	block_unref(&block);
	client->greeted = true;
	client_pump(client);
}

void client_move(struct client *client, struct audience *to)
{
	list_remove(&client->of_audience);
	list_append(&to->members, &client->of_audience);
	client->audience = to;
}

static void leave_audience(struct client *client)
{
	struct audience *audience = client->audience;
	if (!audience)
		return;
	client->audience = NULL;
	list_remove(&client->of_audience);
	reader_finish(&client->reader);
	if (list_empty(&audience->members))
		fanout_release(client->hub, &audience);
}

static void drop_requests(struct client *client)
{
	for (struct request *it = client->requests, *next; it; it = next) {
		next = it->next;
		request_free(&it);
	}
}

void client_close(struct client *client, uint16_t code, const char *reason)
{
	if (!client->audience)
		return;
	leave_audience(client);
	drop_requests(client);
	client->transport->close(client->conn, code, reason);
}

void client_gone(struct client **client)
{
	struct client *gone = *client;
	*client = NULL;
	if (!gone)
		return;
	struct hub *hub = gone->hub;
	set_waiting(gone, false);
	leave_audience(gone);
	drop_requests(gone);
	hub_forget(hub, gone);
	free(gone);
}

void request_free(struct request **request)
{
	struct request *old = *request;
	*request = NULL;
	if (!old)
		return;
	struct request **link = &old->client->requests;
	while (*link != old)
		link = &(*link)->next;
	*link = old->next;
	old->client->n_requests--;
	list_remove(&old->of_hub);
	free(old->type);
	free(old->ref);
	free(old);
}

bool client_plain(const struct client *client)
{
	return client->audience->kind == KIND_PLAIN;
}

void client_complain(struct client *client, const char *code, const char *text, const char *ref)
{
	stats_add(STAT_BAD_MESSAGES, 1);
	if (!client_plain(client) && !client_full(client))
		client_tell(client, message_error(code, text, ref));
}

static bool requested(const struct client *client, const char *type)
{
	for (const struct request *it = client->requests; it; it = it->next)
		if (!strcmp(it->type, type))
			return true;
	return false;
}

static void command_init(struct client *client, const struct message *message)
{
	if (!message->type) {
		client_complain(client, "bad_message", "init needs a type", message->ref);
		return;
	}
	if (client->n_requests >= MAX_REQUESTS) {
		client_complain(
			client, "too_many_requests", "wait for the answers first", message->ref);
		return;
	}
	if (requested(client, message->type) && !message->ref)
		return;
	struct request *request = xcalloc(1, sizeof(*request));
	request->client = client;
	request->type = xstrdup(message->type);
	request->ref = message->ref ? xstrdup(message->ref) : NULL;
	request->next = client->requests;
	client->requests = request;
	list_append(&client->hub->requests, &request->of_hub);
	client->n_requests++;
	hub_want(client->hub);
}

void client_received(struct client *client, const char *text, size_t len)
{
	struct message message;
	const char *error;
	if (!client->audience)
		return;
	stats_add(STAT_MESSAGES, 1);
	if (!message_parse(&message, text, len, &error)) {
		client_complain(client, "bad_message", error, NULL);
		return;
	}
	switch (message.command) {
	case COMMAND_INIT:
		command_init(client, &message);
		break;
	case COMMAND_UNKNOWN:
		client_complain(client, "unknown_command", "there is no such cmd", message.ref);
		break;
	}
	message_clear(&message);
}
