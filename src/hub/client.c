/* One client: its writes, and the messages that it alone gets. */
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

static void set_awaits_wake(struct client *client, bool awaits)
{
	client->hub->n_awaiting_wake += (size_t)awaits - (size_t)client->awaits_wake;
	client->awaits_wake = awaits;
}

void client_await_wake(struct client *client)
{
	if (!client->awaits_wake && client->transport->congested(client->conn)) {
		set_awaits_wake(client, true);
		client->transport->wake(client->conn);
	}
}

void client_note_progress(struct client *client)
{
	client->progress_ms = (uint32_t)clock_ms();
}

/* In 32 bits, which is right for less than seven weeks. */
uint32_t client_stalled_ms(const struct client *client)
{
	return (uint32_t)clock_ms() - client->progress_ms;
}

void client_write(struct client *client)
{
	const unsigned char *bytes;
	size_t len;
	if (!client->hello_sent || !client->audience)
		return;
	while (reader_peek(&client->reader, &bytes, &len)) {
		if (client->transport->congested(client->conn))
			break;
		if (!client->transport->write(client->conn, bytes, len))
			return;
		client_note_progress(client);
		reader_advance(&client->reader, len);
	}
	client_await_wake(client);
}

bool client_is_drained(struct client *client)
{
	bool empty = !client->reader.queued || !client->hello_sent;
	return empty && !client->transport->congested(client->conn);
}

bool client_resume(struct client *client)
{
	set_awaits_wake(client, false);
	client_note_progress(client);
	client_write(client);
	if (!client->audience || (audience_is_live(client->audience) && !client->init_requests))
		return false;
	if (client_is_drained(client))
		return true;
	client_await_wake(client);
	return false;
}

/* ---- messages ---- */

void client_insert(struct client *client, struct block *block)
{
	if (!client->audience)
		return;
	reader_insert(&client->reader, &client->audience->stream, block);
	client_write(client);
}

static bool takes_control(const struct client *client)
{
	return client->audience && client->audience->protocol->control;
}

static struct block *control_block(const struct client *client, char *text)
{
	struct block *block = client->audience->protocol->control(text, strlen(text));
	free(text);
	return block;
}

static void send_block(struct client *client, struct block *block)
{
	client_insert(client, block);
	block_unref(&block);
}

void client_send_hello(struct client *client, const char *cursor, bool resumed)
{
	if (client->hello_sent)
		return;
	struct block *block = control_block(
		client, message_hello(client->audience->user->uid, client->audience->types, cursor,
				resumed, PGCAST_VERSION));
	reader_prepend(&client->reader, block);
	block_unref(&block);
	client->hello_sent = true;
	client_write(client);
}

void client_send_cursor(struct client *client, const char *cursor)
{
	if (takes_control(client))
		send_block(client, client->audience->protocol->cursor(cursor));
}

void client_send_reset(struct client *client, const char *reason)
{
	if (takes_control(client))
		send_block(client, control_block(client, message_reset(reason)));
}

void client_send_ack(struct client *client, const char *ref)
{
	if (takes_control(client))
		send_block(client, control_block(client, message_ack(ref)));
}

void client_send_text(struct client *client, const char *text)
{
	if (client->audience && !client_is_full(client))
		send_block(client, client->audience->protocol->message(text, strlen(text)));
}

void client_send_error(struct client *client, const char *code, const char *text, const char *ref)
{
	metric_add(METRIC_BAD_MESSAGES, 1);
	if (takes_control(client) && !client_is_full(client))
		send_block(client, control_block(client, message_error(code, text, ref)));
}

/* ---- joining and leaving ---- */

void client_set_audience(struct client *client, struct audience *audience)
{
	list_remove(&client->of_audience);
	list_append(&audience->members, &client->of_audience);
	client->audience = audience;
}

static void leave_audience(struct client *client)
{
	struct audience *audience = client->audience;
	if (!audience)
		return;
	struct user *user = audience->user;
	client->audience = NULL;
	list_remove(&client->of_audience);
	reader_finish(&client->reader);
	if (list_empty(&audience->members))
		audience_release(&audience);
	users_release(client->hub->users, &user);
}

void init_request_destroy(struct init_request **request)
{
	struct init_request *old = *request;
	*request = NULL;
	if (!old)
		return;
	struct init_request **link = &old->client->init_requests;
	while (*link != old)
		link = &(*link)->next;
	*link = old->next;
	old->client->n_init_requests--;
	metrics[METRIC_INIT_REQUESTS]--;
	list_remove(&old->of_hub);
	list_remove(&old->of_ticket);
	free(old->type);
	free(old->ref);
	free(old);
}

void stop_destroy(struct stop **stop)
{
	list_remove(&(*stop)->of_hub);
	free((*stop)->type);
	free(*stop);
	*stop = NULL;
}

static void drop_requests(struct client *client)
{
	list_for_each_safe (it, &client->hub->stops) {
		struct stop *stop = LIST_OF(it, struct stop, of_hub);
		if (stop->client == client)
			stop_destroy(&stop);
	}
	for (struct init_request *it = client->init_requests, *next; it; it = next) {
		next = it->next;
		init_request_destroy(&it);
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
	set_awaits_wake(client, false);
	leave_audience(client);
	drop_requests(client);
}
