/* Counters and gauges: one row each in stats.def, from which come the metric's name, its help and
 * /metrics. Plain integers, since there is one thread. */
#pragma once

#include <stdint.h>

enum counter {
#define STAT(id, kind, name, help) STAT_##id,
#include "stats.def"
#undef STAT
	STAT_COUNT,
};

extern uint64_t stats[STAT_COUNT];

static inline void stats_add(enum counter counter, uint64_t n)
{
	stats[counter] += n;
}

static inline void stats_set(enum counter counter, uint64_t value)
{
	stats[counter] = value;
}

/* The Prometheus text of all of them; the caller frees it. */
char *stats_render(void);
