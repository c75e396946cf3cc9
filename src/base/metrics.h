/* Counters and gauges, one row each in metrics.def, which gives the name and help of /metrics.
 * Plain integers, since there is one thread. */
#pragma once

#include <stdint.h>

enum metric {
#define METRIC(id, kind, name, help) METRIC_##id,
#include "metrics.def"
#undef METRIC
	METRIC_COUNT,
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

/* All metrics in Prometheus text format; the caller frees it. */
char *metrics_render(void);
