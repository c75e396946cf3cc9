/* Counters and gauges: one row each in metrics.def, from which come the metric's name, its help and
 * /metrics. Plain integers, since there is one thread. */
#pragma once

#include <stdint.h>

enum counter {
#define METRIC(id, kind, name, help) METRIC_##id,
#include "metrics.def"
#undef METRIC
	METRIC_COUNT,
};

extern uint64_t metrics[METRIC_COUNT];

static inline void metric_add(enum counter counter, uint64_t n)
{
	metrics[counter] += n;
}

static inline void metric_set(enum counter counter, uint64_t value)
{
	metrics[counter] = value;
}

/* The Prometheus text of all of them; the caller frees it. */
char *metrics_render(void);
