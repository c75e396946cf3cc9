/* Time that only goes forward, whatever happens to the clock on the wall. */
#pragma once

#include <stdint.h>

/* Milliseconds since some moment before the program started. */
uint64_t clock_ms(void);
