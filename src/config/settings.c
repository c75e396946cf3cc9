#include "settings.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "address.h"
#include "alloc.h"
#include "conf.h"
#include "settings_priv.h"

#define ROW(row_name, row_type, row_default, row_help, ...)                                        \
	{.name = #row_name,                                                                        \
		.default_value = row_default,                                                      \
		.help = row_help,                                                                  \
		.offset = offsetof(struct settings, row_name),                                     \
		.type = row_type,                                                                  \
		__VA_ARGS__},
#define NUMBER(name, family, default_, min_, max_, help)                                           \
	ROW(name, TYPE_NUMBER, default_, help, .units = family, .min = min_, .max = max_)
#define JOIN_WORD(constant, word) ", " word

const struct setting_row settings_rows[SETTINGS_COUNT] = {
#define SETTING_TEXT(name, default_, secrecy_, help)                                               \
	ROW(name, TYPE_TEXT, default_, help, .secrecy = secrecy_)
#define SETTING_FLAG(name, default_, help) ROW(name, TYPE_FLAG, default_, help, .units = UNITS_NONE)
#define SETTING_COUNT(name, ...) NUMBER(name, UNITS_NONE, __VA_ARGS__)
#define SETTING_BYTES(name, ...) NUMBER(name, UNITS_BYTES, __VA_ARGS__)
#define SETTING_DURATION(name, ...) NUMBER(name, UNITS_DURATION, __VA_ARGS__)
#define SETTING_RATE(name, ...) NUMBER(name, UNITS_RATE, __VA_ARGS__)
#define SETTING_CHOICE(name, default_, help)                                                       \
	ROW(name, TYPE_CHOICE, default_, help, .words = &CHOICES_##name(JOIN_WORD)[2])
#include "settings.def"
};

static void clear_value(struct setting_value *value)
{
	free(value->written);
	free(value->text);
	free(value->origin);
}

/* The error message omits a text, which may be a secret. */
static bool set_row(struct settings *settings, size_t index, const char *written,
	const char *origin, char **error)
{
	const struct setting_row *row = &settings_rows[index];
	bool in_file = strncmp(written, "@/", 2) == 0;
	char *cause = NULL;
	char *text = in_file ? settings_read_value(written + 1, &cause) : xstrdup(written);
	if (!cause)
		cause = settings_parse(settings, row, text);
	if (cause) {
		const char *shown = row->type == TYPE_TEXT ? "" : written;
		*error = xasprintf(
			"%s: %s%s%s: %s", origin, row->name, *shown ? " = " : "", shown, cause);
		free(cause);
		free(text);
		return false;
	}
	struct setting_value *value = &settings->values[index];
	clear_value(value);
	value->written = xstrdup(written);
	value->text = text;
	value->origin = xstrdup(origin);
	return true;
}

/* ---- names ---- */

/* The Levenshtein distance; case is ignored in a. */
static size_t distance(const char *a, const char *b)
{
	size_t len = strlen(b);
	size_t *costs = xcalloc(len + 1, sizeof *costs);
	for (size_t j = 0; j <= len; j++)
		costs[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = costs[0];
		costs[0] = i + 1;
		for (size_t j = 0; j < len; j++) {
			size_t change = diagonal + (tolower((unsigned char)a[i]) != b[j]);
			diagonal = costs[j + 1];
			costs[j + 1] = MIN(change, MIN(diagonal, costs[j]) + 1);
		}
	}
	size_t cost = costs[len];
	free(costs);
	return cost;
}

/* NULL if no name is similar. */
static const char *nearest_name(const char *name)
{
	const char *best = NULL;
	size_t best_cost = MIN(4, strlen(name) / 2 + 1);
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		size_t cost = distance(name, settings_rows[i].name);
		if (cost < best_cost) {
			best = settings_rows[i].name;
			best_cost = cost;
		}
	}
	return best;
}

static bool set_named(struct settings *settings, const char *name, const char *written,
	const char *origin, char **error)
{
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		if (strcmp(name, settings_rows[i].name) == 0)
			return set_row(settings, i, written, origin, error);
	}
	const char *near = nearest_name(name);
	*error = near ? xasprintf("%s: unknown setting \"%s\" (did you mean \"%s\"?)", origin, name,
				near)
		      : xasprintf("%s: unknown setting \"%s\" (see --help)", origin, name);
	return false;
}

/* ---- sources of values ---- */

static bool load_line(struct settings *settings, const char *line, const char *origin, char **error)
{
	char *key, *value;
	const char *cause;
	if (!conf_line(line, &key, &value, &cause)) {
		*error = xasprintf("%s: %s", origin, cause);
		return false;
	}
	bool ok = !key || set_named(settings, key, value, origin, error);
	free(key);
	free(value);
	return ok;
}

static bool load_file(struct settings *settings, const char *file, char **error)
{
	FILE *in = fopen(file, "re");
	if (!in) {
		*error = xasprintf("could not read %s: %s", file, strerror(errno));
		return false;
	}
	char *line = NULL;
	size_t room = 0, number = 0;
	bool ok = true;
	errno = 0;
	while (ok && getline(&line, &room, in) >= 0) {
		char *origin = xasprintf("%s:%zu", file, ++number);
		ok = load_line(settings, line, origin, error);
		free(origin);
	}
	if (ok && ferror(in)) {
		*error = xasprintf("could not read %s: %s", file, strerror(errno));
		ok = false;
	}
	free(line);
	fclose(in);
	return ok;
}

static bool load_environment(struct settings *settings, char **error)
{
	bool ok = true;
	for (size_t i = 0; ok && i < SETTINGS_COUNT; i++) {
		char *name = xasprintf("PGCAST_%s", settings_rows[i].name);
		for (char *c = name; *c; c++)
			*c = (char)toupper((unsigned char)*c);
		const char *written = getenv(name);
		char *origin = xasprintf("environment %s", name);
		ok = !written || set_row(settings, i, written, origin, error);
		free(origin);
		free(name);
	}
	return ok;
}

static bool load_sets(struct settings *settings, const char *const *sets, char **error)
{
	bool ok = true;
	for (; ok && sets && *sets; sets++) {
		const char *sign = strchr(*sets, '=');
		if (!sign) {
			*error = xasprintf("--set %s: expected KEY=VALUE", *sets);
			return false;
		}
		char *name = xstrndup(*sets, (size_t)(sign - *sets));
		ok = set_named(settings, name, sign + 1, "--set", error);
		free(name);
	}
	return ok;
}

/* ---- constraints between settings ---- */

static bool check_addresses(const struct settings *settings, size_t index, const char *list,
	bool must_be_local, char **error)
{
	const char *origin = settings->values[index].origin, *cause;
	struct address address;
	bool local = true;
	while (local && address_next(&address, &list, &cause)) {
		local = address_is_local(&address) || !must_be_local;
		address_clear(&address);
	}
	if (!local)
		*error = xasprintf("%s: %s: auth = trust would let other machines read every uid "
				   "(listen on 127.0.0.1 or set trust_remote = on)",
			origin, settings_rows[index].name);
	else if (cause)
		*error = xasprintf("%s: %s: %s", origin, settings_rows[index].name, cause);
	return !*error;
}

/* SO_REUSEPORT does not work for unix sockets. */
static bool check_shared(const struct settings *settings, char **error)
{
	const char *list = settings->listen, *cause;
	struct address address;
	bool shared = true;
	while (settings->reuse_port && shared && address_next(&address, &list, &cause)) {
		shared = !address.path;
		address_clear(&address);
	}
	if (!shared)
		*error = xasprintf("%s: listen: a unix socket cannot be shared with reuse_port = "
				   "on (let systemd pass it to all processes, or set "
				   "reuse_port = off)",
			settings->values[SETTING_INDEX_listen].origin);
	return shared;
}

static bool check(const struct settings *settings, char **error)
{
	bool must_be_local = settings->auth == AUTH_TRUST && !settings->trust_remote;
	return check_addresses(
		       settings, SETTING_INDEX_listen, settings->listen, must_be_local, error) &&
	       check_addresses(settings, SETTING_INDEX_admin_listen, settings->admin_listen, false,
		       error) &&
	       check_shared(settings, error);
}

/* ---- loading ---- */

static struct settings *create_defaults(void)
{
	struct settings *settings = xcalloc(1, sizeof *settings);
	settings->values = xcalloc(SETTINGS_COUNT, sizeof *settings->values);
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		char *error = NULL;
		bool ok = set_row(settings, i, settings_rows[i].default_value, "default", &error);
		assert(ok);
		(void)ok;
	}
	return settings;
}

void settings_destroy(struct settings **settings)
{
	if (!*settings)
		return;
	for (size_t i = 0; i < SETTINGS_COUNT; i++)
		clear_value(&(*settings)->values[i]);
	free((*settings)->values);
	free(*settings);
	*settings = NULL;
}

bool settings_load(struct settings **out, const char *file, const char *const *sets, char **error)
{
	struct settings *settings = create_defaults();
	*out = NULL;
	*error = NULL;
	if ((!file || load_file(settings, file, error)) && load_environment(settings, error) &&
		load_sets(settings, sets, error) && check(settings, error)) {
		*out = settings;
		return true;
	}
	settings_destroy(&settings);
	return false;
}
