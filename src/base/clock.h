/* Monotonic time: unaffected by changes of the system clock. */
#pragma once

#include <stdint.h>

/* Milliseconds since an arbitrary start. */
uint64_t clock_ms(void);
