/* Counters and gauges, one row each in metrics.def, which gives the name and help of /metrics.
 * Plain integers, since there is one thread. A row with a label has one value per label value, of
 * which there are few and none is chosen by strangers. */
#pragma once

#include <stdint.h>

enum metric {
#define METRIC(id, kind, name, help) METRIC_##id,
#define LABELLED(id, kind, name, label, help)
#include "metrics.def"
#undef METRIC
#undef LABELLED
	METRIC_COUNT,
};

enum labelled_metric {
#define METRIC(id, kind, name, help)
#define LABELLED(id, kind, name, label, help) METRIC_##id,
#include "metrics.def"
#undef METRIC
#undef LABELLED
	LABELLED_COUNT,
};

extern uint64_t metrics[METRIC_COUNT];

static inline void metric_add(enum metric metric, uint64_t n)
{
	metrics[metric] += n;
}

static inline void metric_set(enum metric metric, uint64_t value)
{
	metrics[metric] = value;
}

/* Adds to the value of a label; the text is copied when it is new. */
void metric_add_labelled(enum labelled_metric metric, const char *label, uint64_t n);

/* All metrics in Prometheus text format; the caller frees it. */
char *metrics_render(void);
