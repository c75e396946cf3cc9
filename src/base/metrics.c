#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"

uint64_t metrics[METRIC_COUNT];

enum kind { counter, gauge, ratio, seconds };

static const struct {
	const char *name, *help;
	enum kind kind;
} rows[METRIC_COUNT] = {
#define METRIC(id, kind, name, help) [METRIC_##id] = {"pgcast_" name, help, kind},
#define LABELLED(id, kind, name, label, help)
#include "metrics.def"
#undef METRIC
#undef LABELLED
};

struct label {
	struct label *next;
	uint64_t value;
	char text[];
};

static struct {
	const char *name, *label, *help;
	enum kind kind;
	struct label *labels;
} labelled[LABELLED_COUNT] = {
#define METRIC(id, kind, name, help)
#define LABELLED(id, kind, name, label, help)                                                      \
	[METRIC_##id] = {"pgcast_" name, label, help, kind, NULL},
#include "metrics.def"
#undef METRIC
#undef LABELLED
};

void metric_add_labelled(enum labelled_metric metric, const char *label, uint64_t n)
{
	struct label **link = &labelled[metric].labels;
	while (*link && strcmp((*link)->text, label) != 0)
		link = &(*link)->next;
	if (!*link) {
		size_t size = strlen(label) + 1;
		*link = xcalloc(1, sizeof **link + size);
		memcpy((*link)->text, label, size);
	}
	(*link)->value += n;
}

static void print_head(FILE *out, const char *name, const char *help, enum kind kind)
{
	fprintf(out, "# HELP %s %s\n", name, help);
	fprintf(out, "# TYPE %s %s\n", name, kind == counter ? "counter" : "gauge");
}

char *metrics_render(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return xstrdup("");
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		print_head(out, rows[i].name, rows[i].help, rows[i].kind);
		if (rows[i].kind == ratio || rows[i].kind == seconds)
			fprintf(out, "%s %.6f\n", rows[i].name, (double)metrics[i] / 1e6);
		else
			fprintf(out, "%s %" PRIu64 "\n", rows[i].name, metrics[i]);
	}
	for (size_t i = 0; i < LABELLED_COUNT; i++) {
		print_head(out, labelled[i].name, labelled[i].help, labelled[i].kind);
		for (const struct label *it = labelled[i].labels; it; it = it->next)
			fprintf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", labelled[i].name,
				labelled[i].label, it->text, it->value);
	}
	fclose(out);
	return text;
}
