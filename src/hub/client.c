/* One client: writing what it has before it, and doing what it asks for. */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "message.h"
#include "metrics.h"
#include "state.h"

#ifndef PGCAST_VERSION
#error "the build defines PGCAST_VERSION"
#endif

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

bool client_resume(struct client *client)
{
	set_waiting(client, false);
	client_progressed(client);
	client_pump(client);
	if (!client->audience || (audience_live(client->audience) && !client->requests))
		return false;
	if (client_drained(client))
		return true;
	client_await(client);
	return false;
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
	struct block *block = websocket_text(text, strlen(text));
	free(text);
	client_insert(client, block);
	block_unref(&block);
}

void client_hello(struct client *client, const char *cursor, bool resumed)
{
	if (client->greeted)
		return;
	char *text = message_hello(client->user->uid, cursor, resumed, PGCAST_VERSION);
	struct block *block = websocket_text(text, strlen(text));
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
		audience_release(&audience);
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

void client_finish(struct client *client)
{
	set_waiting(client, false);
	leave_audience(client);
	drop_requests(client);
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
	metric_add(METRIC_BAD_MESSAGES, 1);
	if (!client_plain(client) && !client_full(client))
		client_tell(client, message_error(code, text, ref));
}
