#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>

#include "alloc.h"

uint64_t metrics[METRIC_COUNT];

static const struct {
	const char *name, *help;
	enum { counter, gauge, ratio } kind;
} rows[METRIC_COUNT] = {
#define METRIC(id, kind, name, help) [METRIC_##id] = {"pgcast_" name, help, kind},
#include "metrics.def"
#undef METRIC
};

char *metrics_render(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return xstrdup("");
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		fprintf(out, "# HELP %s %s\n", rows[i].name, rows[i].help);
		fprintf(out, "# TYPE %s %s\n", rows[i].name,
			rows[i].kind == counter ? "counter" : "gauge");
		if (rows[i].kind == ratio)
			fprintf(out, "%s %.6f\n", rows[i].name, (double)metrics[i] / 1e6);
		else
			fprintf(out, "%s %" PRIu64 "\n", rows[i].name, metrics[i]);
	}
	fclose(out);
	return text;
}
