#include "stats.h"

#include <inttypes.h>
#include <stdio.h>

#include "alloc.h"

uint64_t stats[STAT_COUNT];

static const struct {
	const char *name, *kind, *help;
} rows[STAT_COUNT] = {
#define STAT(id, kind, name, help) [STAT_##id] = {"pgcast_" name, #kind, help},
#include "stats.def"
#undef STAT
};

char *stats_render(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return xstrdup("");
	for (size_t i = 0; i < STAT_COUNT; i++) {
		fprintf(out, "# HELP %s %s\n", rows[i].name, rows[i].help);
		fprintf(out, "# TYPE %s %s\n", rows[i].name, rows[i].kind);
		fprintf(out, "%s %" PRIu64 "\n", rows[i].name, stats[i]);
	}
	fclose(out);
	return text;
}
