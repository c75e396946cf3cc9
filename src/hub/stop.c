/* The command stop: a client continues without a type. During a turn it has to wait, since events
 * of the turn may be in the client's stream, or not yet; and while the client waits for an answer
 * to init, whose place in the stream is fixed. */
#include <stdlib.h>

#include "alloc.h"
#include "state.h"

static bool is_held(const struct client *client)
{
	return !audience_is_live(client->audience) && client->audience->catchup->held;
}

static void continue_without(struct client *client, const char *type)
{
	const char *types = client->audience->types;
	init_stop(client, type);
	if (!types_include(types, type))
		return;
	char *left = types_without(types, type);
	delivery_change_types(client, left);
	free(left);
}

void stop_type(struct client *client, const char *type)
{
	if (!client->hub->in_turn && !is_held(client)) {
		continue_without(client, type);
		return;
	}
	struct stop *stop = xcalloc(1, sizeof(*stop));
	stop->client = client;
	stop->type = xstrdup(type);
	list_append(&client->hub->stops, &stop->of_hub);
}

void stop_apply(struct hub *hub)
{
	list_for_each_safe (it, &hub->stops) {
		struct stop *stop = LIST_OF(it, struct stop, of_hub);
		if (is_held(stop->client))
			continue;
		continue_without(stop->client, stop->type);
		stop_destroy(&stop);
	}
}
