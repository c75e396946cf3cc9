/* Answers to init: asked for by clients, fetched in a turn, once for all who asked the same, and
 * put into each one's stream exactly where that turn ends. */
#include <string.h>

#include "message.h"
#include "state.h"

static size_t find_wish(struct hub *hub, const struct user *user, const char *type)
{
	size_t i = 0;
	while (i < hub->plan.n_wishes &&
		(hub->answers[i].user != user || strcmp(hub->wishes[i].type, type) != 0))
		i++;
	if (i == hub->plan.n_wishes && i < MAX_WISHES) {
		hub->wishes[i] = (struct wish){.type = type, .uid = user->uid};
		hub->answers[i] = (struct answer){.user = user};
		hub->plan.n_wishes++;
	}
	return i;
}

/* Those who are behind are answered when they are live: the answer's place is the bridge's
 * position. */
void answers_plan(struct hub *hub)
{
	if (!*hub->position->text)
		return;
	list_for_each (it, &hub->requests) {
		struct request *request = LIST_OF(it, struct request, of_hub);
		struct client *client = request->client;
		if (!audience_live(client->audience) || client_full(client))
			continue;
		size_t i = find_wish(hub, client->user, request->type);
		if (i == MAX_WISHES) {
			hub->asked = true;
			return;
		}
		request->wish = i + 1;
	}
}

void answers_take(struct hub *hub, size_t wish, const char *text, size_t len)
{
	if (text)
		hub->answers[wish].block = websocket_text(text, len);
}

static void answer(struct hub *hub, struct request *request)
{
	struct client *client = request->client;
	struct block *block = hub->answers[request->wish - 1].block;
	if (!audience_live(client->audience))
		return; /* fell behind in this very turn: asks again when it is back */
	if (block)
		client_insert(client, block);
	if (block && request->ref && !client_plain(client))
		client_tell(client, message_ack(request->ref));
	if (!block)
		client_complain(client, "unknown_type", "there is no such type", request->ref);
	request_free(&request);
}

void answers_tell(struct hub *hub)
{
	list_for_each_safe (it, &hub->requests) {
		struct request *request = LIST_OF(it, struct request, of_hub);
		if (request->wish)
			answer(hub, request);
	}
}

void answers_clear(struct hub *hub)
{
	for (size_t i = 0; i < hub->plan.n_wishes; i++)
		block_unref(&hub->answers[i].block);
	list_for_each (it, &hub->requests)
		LIST_OF(it, struct request, of_hub)->wish = 0;
}
