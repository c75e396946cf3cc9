#include "audience.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

bool same_types(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* A client may have had the blocks that a catching-up audience has pending: it cannot join. */
static bool same_window(const struct audience *audience, const struct window *window)
{
	if (audience_is_live(audience) || !window)
		return audience_is_live(audience) && !window;
	return !(audience->batch && audience->batch->n) && !audience->catchup->held &&
	       window_equal(&audience->catchup->window, window);
}

struct audience *audience_get(struct user *user, const struct protocol *protocol, const char *types,
	const struct window *window)
{
	list_for_each (it, &user->audiences) {
		struct audience *old = LIST_OF(it, struct audience, of_user);
		if (old->protocol == protocol && same_types(old->types, types) &&
			same_window(old, window))
			return old;
	}
	return audience_create(user, protocol, types, window);
}

struct audience *audience_create(struct user *user, const struct protocol *protocol,
	const char *types, const struct window *window)
{
	struct audience *audience = xcalloc(1, sizeof(*audience));
	audience->user = user;
	audience->protocol = protocol;
	audience->types = types ? xstrdup(types) : NULL;
	stream_init(&audience->stream);
	list_init(&audience->members);
	list_append(&user->audiences, &audience->of_user);
	if (window)
		audience_start_catchup(audience, window);
	return audience;
}

void audience_start_catchup(struct audience *audience, const struct window *window)
{
	assert(audience_is_live(audience) && window->from);
	struct catchup *catchup = xcalloc(1, sizeof(*catchup));
	catchup->audience = audience;
	catchup->window = window_copy(window);
	list_init(&catchup->of_hub);
	audience->catchup = catchup;
}

void catchup_advance(struct catchup *catchup, struct position *to, int64_t after)
{
	if (!catchup->window.to)
		catchup->window.to = position_ref(to);
	catchup->window.after = after;
}

static void catchup_destroy(struct catchup **catchup)
{
	struct catchup *old = *catchup;
	*catchup = NULL;
	if (!old)
		return;
	if (old->page_owner)
		*old->page_owner = NULL;
	list_remove(&old->of_hub);
	window_clear(&old->window);
	free(old);
}

void audience_release(struct audience **audience)
{
	struct audience *old = *audience;
	*audience = NULL;
	if (!old)
		return;
	assert(list_empty(&old->members));
	batch_destroy(&old->batch);
	catchup_destroy(&old->catchup);
	list_remove(&old->of_user);
	stream_finish(&old->stream);
	free(old->types);
	free(old);
}

void audience_release_if_idle(struct audience *audience)
{
	if (list_empty(&audience->members) && !audience->batch)
		audience_release(&audience);
}

/* Where a comma-separated list has the type; NULL: nowhere. */
static const char *find_type(const char *list, const char *type)
{
	size_t len = strlen(type);
	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, type, len) && (p[len] == ',' || !p[len]))
			return p;
	}
	return NULL;
}

bool types_include(const char *types, const char *type)
{
	if (!types)
		return true;
	bool listed = find_type(types, type);
	return *types == ',' ? !listed : listed;
}

char *types_without(const char *types, const char *type)
{
	if (!types_include(types, type))
		return xstrdup(types);
	if (!types || *types == ',')
		return xasprintf("%s,%s", types ? types : "", type);
	/* The last list that is left may be empty: no types. */
	const char *at = find_type(types, type), *rest = at + strlen(type);
	return xasprintf("%.*s%s", (int)(at - types), types, rest + (*rest == ','));
}
